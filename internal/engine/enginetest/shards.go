package enginetest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"keypulse/internal/engine"
)

// StartShards runs two engines of the test's own as one cluster, named as their database.
func StartShards(t testing.TB) []*engine.Engine {
	t.Helper()
	native, http := freeAddresses(t, 2), freeAddresses(t, 2)
	var engines []*engine.Engine
	for i := range native {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "password"), []byte("of-all-shards\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		eng, err := engine.New(engine.Config{Dir: dir, NativeListen: native[i], HTTPListen: http[i], Cluster: native})
		if err != nil {
			t.Fatal(err)
		}
		run(t, eng)
		engines = append(engines, eng)
	}
	return engines
}

// freeAddresses are addresses that nobody listens on: free now, and ours unless someone is very quick.
func freeAddresses(t testing.TB, n int) (addresses []string) {
	t.Helper()
	for range n {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

// run runs an engine until the test ends.
func run(t testing.TB, eng *engine.Engine) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- eng.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	starting, stop := context.WithTimeout(ctx, startTimeout)
	defer stop()
	if err := eng.Ready(starting); err != nil {
		t.Fatal(err)
	}
}
