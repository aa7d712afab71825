package window

import "testing"

// TestClasses looks at all sizes of blocks: none is too small, each size has one number, and little is left over.
func TestClasses(t *testing.T) {
	sizes := map[int]int{}
	for n := 1; n <= chunkSize/4; n++ {
		number, size := class(n)
		if size < n || 4*size > 5*n+4 || number >= classes {
			t.Fatalf("%d elements are in a block of %d, class %d", n, size, number)
		}
		if known, ok := sizes[number]; ok && known != size {
			t.Fatalf("class %d has blocks of %d and %d", number, known, size)
		}
		sizes[number] = size
		if again, same := class(size); again != number || same != size {
			t.Fatalf("a block of %d is of class %d, one for as many of %d", size, number, again)
		}
	}
	if len(sizes) != classes {
		t.Errorf("%d classes, want %d", len(sizes), classes)
	}
}
