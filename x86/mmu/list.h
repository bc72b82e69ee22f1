/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Doubly linked lists whose links live in the elements, and nothing else: the
 * MMU is to run freestanding, where no library has them.
 */
#ifndef X86_MMU_LIST_H
#define X86_MMU_LIST_H

#include "x86/arch/types.h"

/* A list's head, and an element's link. A lone link points to itself. */
struct list {
	struct list *next, *prev;
};

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

/* Puts @e after @at: first in a list when @at is its head. */
static inline void list_add(struct list *e, struct list *at)
{
	e->next = at->next;
	e->prev = at;
	at->next->prev = e;
	at->next = e;
}

static inline void list_add_tail(struct list *e, struct list *head)
{
	list_add(e, head->prev);
}

/* Takes @e out of its list; it is a lone link afterwards, so that twice does no harm. */
static inline void list_del(struct list *e)
{
	e->next->prev = e->prev;
	e->prev->next = e->next;
	list_init(e);
}

/* Moves all of @from to the end of @to. */
static inline void list_splice_tail(struct list *from, struct list *to)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define list_for_each(pos, head, member)                                                         \
	for (pos = container_of((head)->next, __typeof__(*pos), member); &pos->member != (head); \
	     pos = container_of(pos->member.next, __typeof__(*pos), member))

/* The same; @pos may be taken out, @n holds the one after it. */
#define list_for_each_safe(pos, n, head, member)                          \
	for (pos = container_of((head)->next, __typeof__(*pos), member),  \
	    n = container_of(pos->member.next, __typeof__(*pos), member); \
	     &pos->member != (head);                                      \
	     pos = n, n = container_of(n->member.next, __typeof__(*pos), member))

#define list_first(head, type, member) container_of((head)->next, type, member)
#define list_last(head, type, member)  container_of((head)->prev, type, member)

#endif
