// Package stream shows events and alerts to whoever watches, as soon as they are judged: what GET /api/stream sends.
//
// The invariant it keeps: a subscriber gets every frame that its filter lets pass, once, in one order, from its position
// on; where frames had to be left out, a gap frame stands in their place and says how many. A [Position] names a place
// between two frames of the whole log, on every node alike.
//
// One [Hub] reads the log for all subscribers of a node, and only while there are any. It never waits for one of
// them: each has a queue with a bound, and who does not read gets a gap.
//
//	hub := stream.New(stream.Config{Client: client, Incarnation: log, Log: logger, Metrics: registry})
//	go hub.Run(ctx) // until hub.End, or ctx is done
//	s, err := hub.Subscribe(ctx, tenant, stream.Filter{KeyID: "signing-key-01"}, nil)
//	defer s.Close()
//	frames, err := s.Next(ctx)
package stream
