// Package openapitest holds the API's tests to the document: what the server answers is what the document states.
//
// The invariant: an answer with a status, a header, a member or a value that the document does not state fails the test that saw
// it; so does a success of a request that the document calls invalid. The document itself lets answers grow, as clients
// must; here they may not, or the document would fall behind.
//
//	client := &http.Client{Transport: openapitest.Transport(t, nil)}
//
// checks whatever a test sends through the client. Tests that speak on bare sockets hand an [Exchange] to [Check], and those with
// handlers of their own to [CheckFailure].
package openapitest
