/* Intrusive doubly linked lists: the links live in the element, so joining and leaving allocate
 * nothing and leaving needs no search. A list is a head of the same type that points at itself. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define LIST_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Walks without removal; use the safe form when the body may unlink the element it is on. */
#define list_for_each(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
#define list_for_each_safe(it, head)                                                               \
	for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                  \
		it = it##_next, it##_next = it->next)

static inline void list_init(struct list *head)
{
	head->next = head->prev = head;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

/* Puts an element that is on no list at the end. */
static inline void list_append(struct list *head, struct list *it)
{
	it->prev = head->prev;
	it->next = head;
	head->prev->next = it;
	head->prev = it;
}

/* Takes an element off its list; harmless on one that is on none (initialised, or removed before).
 */
static inline void list_remove(struct list *it)
{
	it->next->prev = it->prev;
	it->prev->next = it->next;
	list_init(it);
}

/* Moves all elements of a list, in their order, to a head that need not be initialised. */
static inline void list_take(struct list *to, struct list *from)
{
	list_init(to);
	if (list_empty(from))
		return;
	*to = *from;
	to->next->prev = to->prev->next = to;
	list_init(from);
}
