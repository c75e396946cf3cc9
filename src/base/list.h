/* Intrusive doubly linked lists: the links are part of the element, so that insertion and removal
 * need neither allocation nor search. The head has the same type; an empty list points at itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define LIST_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* The body may remove the current element in the safe form only. */
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

/* The element must not be on a list. */
static inline void list_append(struct list *head, struct list *it)
{
	it->prev = head->prev;
	it->next = head;
	head->prev->next = it;
	head->prev = it;
}

/* The element must be initialised; no effect if it is on no list. */
static inline void list_remove(struct list *it)
{
	it->next->prev = it->prev;
	it->prev->next = it->next;
	list_init(it);
}

/* Moves all elements, in order, to a head that may be uninitialised. */
static inline void list_take(struct list *to, struct list *from)
{
	list_init(to);
	if (list_empty(from))
		return;
	*to = *from;
	to->next->prev = to->prev->next = to;
	list_init(from);
}

/* Makes an element of the list, or the head itself, the first one; those before it go to the end.
 */
static inline void list_rotate(struct list *head, struct list *first)
{
	if (first == head || head->next == first)
		return;
	head->next->prev = head->prev;
	head->prev->next = head->next;
	head->next = first;
	head->prev = first->prev;
	head->prev->next = first->prev = head;
}
