package window

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// arena gives out blocks of elements without pointers, from memory outside of the garbage collector's heap: it has nothing
// to look through, and leaves no room beside them. What one key gives back another gets; close gives back all. A block is
// named by a number; its size is for its owner to remember.
type arena[T any] struct {
	chunks [][]T
	next   int // in the last chunk, the first element that was never given out
	used   int // elements given out
	// free is, for each class, the last block that was given back, plus one; it holds the one before it in its first bytes.
	free [classes]uint32
}

// chunkSize is the number of elements of a chunk; no block is larger than a quarter of it. What is not used yet of a chunk
// takes addresses, no memory.
const chunkSize = 1 << 16

// classes is the number of classes up to the largest block's.
const classes = 52

// linkBytes is the least that a block has.
const linkBytes = 4

// class is the smallest size of a block that holds n elements (at least 1), and the number of that size: there are four sizes from
// each power of two to the next.
func class(n int) (number, size int) {
	if n <= 4 {
		return n - 1, n
	}
	k := bits.Len(uint(n-1)) - 3
	steps := (n-1)>>k + 1 // 5 to 8
	return 4*k + steps - 1, steps << k
}

// take gives out a block for n elements, at most chunkSize/4. Its content is whatever was there; zeros at first.
func (a *arena[T]) take(n int) (block uint32) {
	number, size := class(n)
	a.used += size
	if a.free[number] != 0 {
		block = a.free[number] - 1
		a.free[number] = binary.NativeEndian.Uint32(a.link(block))
		return block
	}
	if len(a.chunks) == 0 || a.next+size > chunkSize {
		a.chunks = append(a.chunks, mapped[T](chunkSize))
		a.next = 0
	}
	block = uint32((len(a.chunks)-1)*chunkSize + a.next)
	a.next += size
	return block
}

// give takes back a block that was taken for n elements.
func (a *arena[T]) give(block uint32, n int) {
	number, size := class(n)
	a.used -= size
	binary.NativeEndian.PutUint32(a.link(block), a.free[number])
	a.free[number] = block + 1
}

// link is where a block that was given back names the one before it.
func (a *arena[T]) link(block uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(a.one(block))), linkBytes)
}

// at is the first n elements of the block.
func (a *arena[T]) at(block uint32, n int) []T {
	if n == 0 {
		return nil
	}
	from := block % chunkSize
	return a.chunks[block/chunkSize][from : from+uint32(n) : from+uint32(n)]
}

// one is the first element of the block.
func (a *arena[T]) one(block uint32) *T { return &a.chunks[block/chunkSize][block%chunkSize] }

// close gives the memory back. No block may be looked at any more.
func (a *arena[T]) close() {
	for _, chunk := range a.chunks {
		unmap(chunk)
	}
	*a = arena[T]{}
}
