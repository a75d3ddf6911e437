//go:build tools

// Package tools names what is built for the tests: Vault itself, without most of its plugins.
package tools

import _ "github.com/hashicorp/vault"
