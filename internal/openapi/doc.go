// Package openapi holds the contract of the HTTP API, openapi.yaml: an OpenAPI 3.1 document, served as JSON and as a page.
//
// The invariant: the document and the server say the same. The document is written by hand, for it is read as prose and
// decides what the code must do; tests hold the code to it. cmd/keypulse compares it with the router (paths, methods, scopes,
// parameters) and sends requests that openapitest.Fuzzer makes from it; package openapitest checks every answer that any test of the API sees.
//
// To add an endpoint, write it down in openapi.yaml: its path, its security (the scope that Require names), its parameters,
// its body, every status that it answers with the headers, and an example of each body. Then run
//
//	go test ./internal/openapi/... && go test ./cmd/keypulse -run OpenAPI
//
// and do what the failures say. A new package's tests put openapitest.Transport under their HTTP client.
package openapi
