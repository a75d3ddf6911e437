// Spanner's REST API, as far as a canary uses it, in front of Google's own in-memory fake of
// Spanner. What is sent is read by the API's own protobuf descriptors, so that a field that Spanner
// does not know is an error here too. The fake knows no single-use commits and no unary reads: they
// are put together here from what it knows.
//
//	go run . ADDRESS 'CREATE TABLE …'
//
// A GET of /sessions tells how many there are.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"

	"cloud.google.com/go/spanner/apiv1/spannerpb"
	"cloud.google.com/go/spanner/spannertest"
	"cloud.google.com/go/spanner/spansql"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

type gateway struct {
	client   spannerpb.SpannerClient
	sessions atomic.Int64
}

func main() {
	fake, err := spannertest.NewServer("127.0.0.1:0")
	must(err)
	fake.SetLogger(func(string, ...any) {})
	ddl, err := spansql.ParseDDL("canary.sql", os.Args[2])
	must(err)
	must(fake.UpdateDDL(ddl))
	conn, err := grpc.NewClient(fake.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	g := &gateway{client: spannerpb.NewSpannerClient(conn)}
	must(http.ListenAndServe(os.Args[1], g))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/sessions" {
		fmt.Fprint(w, g.sessions.Load())
		return
	}
	answer, err := g.answer(r)
	if err != nil {
		s := status.Convert(err)
		http.Error(w, fmt.Sprintf(`{"error":{"code":%d,"message":%q,"status":%q}}`, statusOf(s.Code()), s.Message(), name(s.Code())), statusOf(s.Code()))
		return
	}
	body, err := protojson.Marshal(answer)
	must(err)
	w.Header().Set("content-type", "application/json")
	w.Write(body)
}

func (g *gateway) answer(r *http.Request) (proto.Message, error) {
	ctx := r.Context()
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	read := func(m proto.Message) error {
		if err := protojson.Unmarshal(body, m); err != nil {
			return status.Errorf(codes.InvalidArgument, "Invalid JSON payload received. %v", err)
		}
		return nil
	}
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	database, session, _ := strings.Cut(path, "/sessions")
	if parts := strings.Split(database, "/"); len(parts) != 6 || parts[0] != "projects" || parts[2] != "instances" || parts[4] != "databases" {
		return nil, status.Error(codes.NotFound, "no such path")
	}
	session, method, _ := strings.Cut(strings.TrimPrefix(session, "/"), ":")
	switch {
	case r.Method == "POST" && session == "" && method == "":
		var request spannerpb.CreateSessionRequest
		if err := read(&request); err != nil {
			return nil, err
		}
		made, err := g.client.CreateSession(ctx, &request)
		if err == nil {
			g.sessions.Add(1)
			made.Name = database + "/sessions/" + made.Name
		}
		return made, err
	case r.Method == "DELETE" && method == "":
		gone, err := g.client.DeleteSession(ctx, &spannerpb.DeleteSessionRequest{Name: session})
		if err == nil {
			g.sessions.Add(-1)
		}
		return gone, err
	case r.Method == "POST" && method == "commit":
		var request spannerpb.CommitRequest
		if err := read(&request); err != nil {
			return nil, err
		}
		once := request.GetSingleUseTransaction()
		if once.GetReadWrite() == nil {
			return nil, status.Error(codes.InvalidArgument, "not a single-use read-write transaction")
		}
		begun, err := g.client.BeginTransaction(ctx, &spannerpb.BeginTransactionRequest{Session: session, Options: once})
		if err != nil {
			return nil, err
		}
		request.Session = session
		request.Transaction = &spannerpb.CommitRequest_TransactionId{TransactionId: begun.Id}
		return g.client.Commit(ctx, &request)
	case r.Method == "POST" && method == "read":
		var request spannerpb.ReadRequest
		if err := read(&request); err != nil {
			return nil, err
		}
		if !request.GetTransaction().GetSingleUse().GetReadOnly().GetStrong() {
			return nil, status.Error(codes.InvalidArgument, "not a strong read")
		}
		request.Session = session
		return g.rows(ctx, &request)
	}
	return nil, status.Error(codes.NotFound, "no such method")
}

func (g *gateway) rows(ctx context.Context, request *spannerpb.ReadRequest) (proto.Message, error) {
	stream, err := g.client.StreamingRead(ctx, request)
	if err != nil {
		return nil, err
	}
	whole := &spannerpb.ResultSet{}
	for {
		part, err := stream.Recv()
		if err == io.EOF {
			return whole, nil
		}
		if err != nil {
			return nil, err
		}
		if part.Metadata != nil {
			whole.Metadata = part.Metadata
		}
		width := len(whole.GetMetadata().GetRowType().GetFields())
		for at := 0; width > 0 && at+width <= len(part.Values); at += width {
			row := &structpb.ListValue{Values: part.Values[at : at+width]}
			whole.Rows = append(whole.Rows, row)
		}
	}
}

// By google/rpc/code.proto.
func statusOf(code codes.Code) int {
	switch code {
	case codes.InvalidArgument, codes.FailedPrecondition:
		return 400
	case codes.Unauthenticated:
		return 401
	case codes.PermissionDenied:
		return 403
	case codes.NotFound:
		return 404
	case codes.Aborted, codes.AlreadyExists:
		return 409
	case codes.ResourceExhausted:
		return 429
	case codes.Unavailable:
		return 503
	case codes.DeadlineExceeded:
		return 504
	}
	return 500
}

func name(code codes.Code) string {
	return map[codes.Code]string{
		codes.InvalidArgument: "INVALID_ARGUMENT", codes.NotFound: "NOT_FOUND", codes.Unavailable: "UNAVAILABLE",
		codes.Aborted: "ABORTED", codes.PermissionDenied: "PERMISSION_DENIED",
	}[code]
}
