package worker

import "container/list"

// recent is a map that keeps the entries which were used last. It is for one
// goroutine at a time.
type recent[K comparable, V any] struct {
	most  int // entries
	byKey map[K]*list.Element
	order list.List // of keyed[K, V], last used first
}

type keyed[K comparable, V any] struct {
	key   K
	value V
}

func (r *recent[K, V]) get(key K) (v V, ok bool) {
	e, ok := r.byKey[key]
	if !ok {
		return v, false
	}
	r.order.MoveToFront(e)
	return e.Value.(keyed[K, V]).value, true
}

// put adds a key that isn't there.
func (r *recent[K, V]) put(key K, v V) {
	if r.byKey == nil {
		r.byKey = make(map[K]*list.Element)
	}
	r.byKey[key] = r.order.PushFront(keyed[K, V]{key, v})
	if len(r.byKey) > r.most {
		last := r.order.Back()
		delete(r.byKey, last.Value.(keyed[K, V]).key)
		r.order.Remove(last)
	}
}
