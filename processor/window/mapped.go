package window

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapped returns n zero elements, without pointers, in memory that the garbage collector knows nothing of. The kernel refuses only
// where Go's own allocations would fail as well, and it ends alike.
func mapped[T any](n int) []T {
	var element T
	memory, err := unix.Mmap(-1, 0, n*int(unsafe.Sizeof(element)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		panic(fmt.Errorf("map memory: %w", err))
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(memory))), n)
}

// unmap gives back what mapped returned.
func unmap[T any](list []T) {
	if len(list) == 0 {
		return
	}
	size := len(list) * int(unsafe.Sizeof(list[0]))
	if err := unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(list))), size)); err != nil {
		panic(fmt.Errorf("unmap memory: %w", err))
	}
}
