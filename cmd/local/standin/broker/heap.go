package broker

// node is what an indexed heap holds: a thing that knows its place in it.
type node[T any] interface {
	before(T) bool
	place() *int
}

// absent is the place of a node that is in no heap.
const absent = -1

// heap is a binary min-heap whose members can be removed from the middle,
// because messages expire and are deleted wherever they are.
type heap[T node[T]] struct{ nodes []T }

func (h *heap[T]) len() int { return len(h.nodes) }

// min returns the first node; the heap must not be empty.
func (h *heap[T]) min() T { return h.nodes[0] }

func (h *heap[T]) push(n T) {
	*n.place() = len(h.nodes)
	h.nodes = append(h.nodes, n)
	h.up(len(h.nodes) - 1)
}

// remove takes n out; n must be in h.
func (h *heap[T]) remove(n T) {
	i, last := *n.place(), len(h.nodes)-1
	if i != last {
		h.swap(i, last)
	}
	var zero T
	h.nodes[last] = zero
	h.nodes = h.nodes[:last]
	*n.place() = absent
	if i != last && !h.down(i) {
		h.up(i)
	}
}

func (h *heap[T]) swap(i, j int) {
	h.nodes[i], h.nodes[j] = h.nodes[j], h.nodes[i]
	*h.nodes[i].place(), *h.nodes[j].place() = i, j
}

func (h *heap[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.nodes[i].before(h.nodes[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

// down reports whether the node at i moved.
func (h *heap[T]) down(i int) bool {
	start := i
	for {
		child := 2*i + 1
		if child >= len(h.nodes) {
			return i != start
		}
		if right := child + 1; right < len(h.nodes) && h.nodes[right].before(h.nodes[child]) {
			child = right
		}
		if !h.nodes[child].before(h.nodes[i]) {
			return i != start
		}
		h.swap(i, child)
		i = child
	}
}
