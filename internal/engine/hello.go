package engine

import (
	"context"
	"fmt"
	"net"

	"github.com/ClickHouse/ch-go/proto"
)

// helloRevision is a protocol revision that every supported server speaks and whose greeting needs no addendum.
const helloRevision = 54448

// hello greets the native protocol at address as the engine's user; nil means that the engine answers queries.
func hello(ctx context.Context, address, password string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("reach engine: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	var b proto.Buffer
	proto.ClientHello{
		Name: "keypulse", Major: 1, ProtocolVersion: helloRevision,
		User: user, Password: password,
	}.Encode(&b)
	if _, err := conn.Write(b.Buf); err != nil {
		return fmt.Errorf("greet engine: %w", err)
	}
	return readHello(proto.NewReader(conn))
}

func readHello(r *proto.Reader) error {
	code, err := r.UVarInt()
	if err != nil {
		return fmt.Errorf("read engine's greeting: %w", err)
	}
	switch proto.ServerCode(code) {
	case proto.ServerCodeHello:
		return nil
	case proto.ServerCodeException:
		var e proto.Exception
		if err := e.DecodeAware(r, helloRevision); err != nil {
			return fmt.Errorf("read engine's refusal: %w", err)
		}
		return fmt.Errorf("greet engine: %s", e.Message)
	default:
		return fmt.Errorf("greet engine: unexpected answer %d", code)
	}
}
