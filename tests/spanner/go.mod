module pointsman.test/spanner

go 1.24

require (
	cloud.google.com/go/spanner v1.76.1
	google.golang.org/grpc v1.70.0
	google.golang.org/protobuf v1.36.5
)

require (
	cloud.google.com/go v0.118.2 // indirect
	cloud.google.com/go/iam v1.4.0 // indirect
	cloud.google.com/go/longrunning v0.6.4 // indirect
	github.com/envoyproxy/go-control-plane/envoy v1.32.4 // indirect
	golang.org/x/net v0.35.0 // indirect
	golang.org/x/sys v0.30.0 // indirect
	golang.org/x/text v0.22.0 // indirect
	google.golang.org/genproto v0.0.0-20250122153221-138b5a5a4fd4 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20250219182151-9fdb1cabc7b2 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20250219182151-9fdb1cabc7b2 // indirect
)
