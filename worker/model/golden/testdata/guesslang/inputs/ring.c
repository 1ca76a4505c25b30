#include <stddef.h>
#include <stdlib.h>

struct ring {
    size_t head, tail, size;
    int *items;
};

int ring_put(struct ring *r, int item)
{
    size_t next = (r->head + 1) % r->size;
    if (next == r->tail)
        return -1;
    r->items[r->head] = item;
    r->head = next;
    return 0;
}
