package cli

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// asSpawned makes the test binary a program that klink map runs.
const asSpawned = "KLINK_TEST_SPAWNED"

// TestSpawned is that program: it exits with what it reads, or waits for ever.
func TestSpawned(t *testing.T) {
	switch os.Getenv(asSpawned) {
	case "read":
		b := make([]byte, 4)
		if n, _ := os.NewFile(mapFd, "map").ReadAt(b, 1); n != 3 || os.Getenv("PATH") == "" {
			os.Exit(100 + n)
		}
		os.Exit(int(b[2]))
	case "wait":
		time.Sleep(time.Hour)
	}
}

// TestSpawn: a program has the file as its descriptor 3, this process's environment, and
// the variables beside it; its exit code is ours.
func TestSpawn(t *testing.T) {
	name := t.TempDir() + "/file"
	if err := os.WriteFile(name, []byte{1, 2, 3, 42}, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	argv := []string{os.Args[0], "-test.run=^TestSpawned$"}
	sys := OS()
	if code, err := sys.Spawn(context.Background(), argv, []string{asSpawned + "=read"}, f); code != 42 || err != nil {
		t.Errorf("exit %d %v", code, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if code, err := sys.Spawn(ctx, argv, []string{asSpawned + "=wait"}, f); code != 128+15 || err != nil {
		t.Errorf("exit %d %v", code, err)
	}
	if code, err := sys.Spawn(context.Background(), []string{name}, nil, f); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("exit %d %v", code, err)
	}
}

// Names of shared memory are a module's, and may be anything.
func TestMapEscapes(t *testing.T) {
	sys, out, errs := fake(t, nil)
	if code := Main(context.Background(), sys, []string{"boot", "k.o"}); code != 0 {
		t.Fatal(errs)
	}
	out.Reset()
	for _, args := range [][]string{{"map", "\x1b[2J"}, {"map", "ring", "--", "missing\x1b[2J"}, {"map", "ring", "--", "\x1bbad"}} {
		if code := Main(context.Background(), sys, args); code == 0 {
			t.Errorf("%q: %s", args, out)
		}
		if bytes.ContainsRune(errs.Bytes(), 0x1b) {
			t.Errorf("%q: %q", args, errs)
		}
		errs.Reset()
	}
}
