package window

import "math/bits"

// arena gives out blocks of elements without pointers: the garbage collector has nothing to look through, and what one
// key gives back another gets. A block is named by a number; its size, a power of two or three quarters of one, is for
// its owner to remember.
type arena[T any] struct {
	chunks [][]T
	next   int        // in the last chunk, the first element that was never given out
	free   [][]uint32 // blocks that were given back, by class
	used   int        // elements given out
}

// chunkSize is the number of elements of a chunk; no block is larger than a quarter of it.
const chunkSize = 1 << 14

// class is the smallest size of a block that holds n elements (at least 1), and the number of that size.
func class(n int) (number, size int) {
	k := bits.Len(uint(n - 1))
	if size = 3 << k >> 2; size >= n {
		return 2*k - 1, size
	}
	return 2 * k, 1 << k
}

// take gives out a block for n elements, at most chunkSize/4. Its content is whatever was there.
func (a *arena[T]) take(n int) (block uint32) {
	number, size := class(n)
	a.used += size
	if number < len(a.free) {
		if list := a.free[number]; len(list) > 0 {
			a.free[number] = list[:len(list)-1]
			return list[len(list)-1]
		}
	}
	if len(a.chunks) == 0 || a.next+size > chunkSize {
		a.chunks = append(a.chunks, make([]T, chunkSize))
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
	for len(a.free) <= number {
		a.free = append(a.free, nil)
	}
	a.free[number] = append(a.free[number], block)
}

// at is the first n elements of the block.
func (a *arena[T]) at(block uint32, n int) []T {
	if n == 0 {
		return nil
	}
	from := block % chunkSize
	return a.chunks[block/chunkSize][from : from+uint32(n) : from+uint32(n)]
}
