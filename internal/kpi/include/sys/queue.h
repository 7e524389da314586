/*
 * sys/queue.h: lists whose links lie in their elements.
 *
 *	SLIST		one link an element; insert in front or behind an element
 *	SIMPLEQ, STAILQ	one link, and the list knows its end; insert at both ends
 *	LIST		two links; remove any element without looking for it
 *	TAILQ		two links, and the list knows its end; walk both ways
 *
 * None locks anything. In the SAFE loops the element may be removed and freed.
 */
#ifndef _SYS_QUEUE_H_
#define _SYS_QUEUE_H_

#include <sys/cdefs.h>

/* SLIST */
#define SLIST_HEAD(name, type)		struct name { struct type *slh_first; }
#define SLIST_HEAD_INITIALIZER(head)	{ NULL }
#define SLIST_ENTRY(type)		struct { struct type *sle_next; }
#define SLIST_FIRST(head)		((head)->slh_first)
#define SLIST_END(head)			NULL
#define SLIST_EMPTY(head)		((head)->slh_first == NULL)
#define SLIST_NEXT(elm, field)		((elm)->field.sle_next)
#define SLIST_INIT(head)		((void)((head)->slh_first = NULL))
#define SLIST_FOREACH(var, head, field)					\
	for ((var) = SLIST_FIRST(head); (var) != NULL; (var) = SLIST_NEXT(var, field))
#define SLIST_FOREACH_SAFE(var, head, field, next)			\
	for ((var) = SLIST_FIRST(head);					\
	    (var) != NULL && ((next) = SLIST_NEXT(var, field), 1); (var) = (next))
#define SLIST_INSERT_HEAD(head, elm, field) do {			\
	(elm)->field.sle_next = (head)->slh_first;			\
	(head)->slh_first = (elm);					\
} while (0)
#define SLIST_INSERT_AFTER(at, elm, field) do {				\
	(elm)->field.sle_next = (at)->field.sle_next;			\
	(at)->field.sle_next = (elm);					\
} while (0)
#define SLIST_REMOVE_HEAD(head, field)					\
	((void)((head)->slh_first = (head)->slh_first->field.sle_next))
#define SLIST_REMOVE_AFTER(at, field)					\
	((void)((at)->field.sle_next = SLIST_NEXT((at)->field.sle_next, field)))
#define SLIST_REMOVE(head, elm, type, field) do {			\
	struct type **sl_link = &(head)->slh_first;			\
	while (*sl_link != (elm))					\
		sl_link = &(*sl_link)->field.sle_next;			\
	*sl_link = (elm)->field.sle_next;				\
} while (0)

/* SIMPLEQ */
#define SIMPLEQ_HEAD(name, type)					\
	struct name { struct type *sqh_first; struct type **sqh_last; }
#define SIMPLEQ_HEAD_INITIALIZER(head)	{ NULL, &(head).sqh_first }
#define SIMPLEQ_ENTRY(type)		struct { struct type *sqe_next; }
#define SIMPLEQ_FIRST(head)		((head)->sqh_first)
#define SIMPLEQ_END(head)		NULL
#define SIMPLEQ_EMPTY(head)		((head)->sqh_first == NULL)
#define SIMPLEQ_NEXT(elm, field)	((elm)->field.sqe_next)
#define SIMPLEQ_LAST(head, type, field)					\
	(SIMPLEQ_EMPTY(head) ? NULL :					\
	    (struct type *)(void *)((char *)(void *)(head)->sqh_last - offsetof(struct type, field)))
#define SIMPLEQ_INIT(head) do {						\
	(head)->sqh_first = NULL;					\
	(head)->sqh_last = &(head)->sqh_first;				\
} while (0)
#define SIMPLEQ_FOREACH(var, head, field)				\
	for ((var) = SIMPLEQ_FIRST(head); (var) != NULL; (var) = SIMPLEQ_NEXT(var, field))
#define SIMPLEQ_FOREACH_SAFE(var, head, field, next)			\
	for ((var) = SIMPLEQ_FIRST(head);				\
	    (var) != NULL && ((next) = SIMPLEQ_NEXT(var, field), 1); (var) = (next))
#define SIMPLEQ_INSERT_HEAD(head, elm, field) do {			\
	if (((elm)->field.sqe_next = (head)->sqh_first) == NULL)	\
		(head)->sqh_last = &(elm)->field.sqe_next;		\
	(head)->sqh_first = (elm);					\
} while (0)
#define SIMPLEQ_INSERT_TAIL(head, elm, field) do {			\
	(elm)->field.sqe_next = NULL;					\
	*(head)->sqh_last = (elm);					\
	(head)->sqh_last = &(elm)->field.sqe_next;			\
} while (0)
#define SIMPLEQ_INSERT_AFTER(head, at, elm, field) do {			\
	if (((elm)->field.sqe_next = (at)->field.sqe_next) == NULL)	\
		(head)->sqh_last = &(elm)->field.sqe_next;		\
	(at)->field.sqe_next = (elm);					\
} while (0)
#define SIMPLEQ_REMOVE_HEAD(head, field) do {				\
	if (((head)->sqh_first = (head)->sqh_first->field.sqe_next) == NULL) \
		(head)->sqh_last = &(head)->sqh_first;			\
} while (0)
#define SIMPLEQ_REMOVE_AFTER(head, at, field) do {			\
	if (((at)->field.sqe_next = (at)->field.sqe_next->field.sqe_next) == NULL) \
		(head)->sqh_last = &(at)->field.sqe_next;		\
} while (0)
#define SIMPLEQ_REMOVE(head, elm, type, field) do {			\
	struct type **sq_link = &(head)->sqh_first;			\
	while (*sq_link != (elm))					\
		sq_link = &(*sq_link)->field.sqe_next;			\
	if ((*sq_link = (elm)->field.sqe_next) == NULL)			\
		(head)->sqh_last = sq_link;				\
} while (0)
#define SIMPLEQ_CONCAT(head, more) do {					\
	if (!SIMPLEQ_EMPTY(more)) {					\
		*(head)->sqh_last = (more)->sqh_first;			\
		(head)->sqh_last = (more)->sqh_last;			\
		SIMPLEQ_INIT(more);					\
	}								\
} while (0)

/* STAILQ is SIMPLEQ by its other name. */
#define STAILQ_HEAD			SIMPLEQ_HEAD
#define STAILQ_HEAD_INITIALIZER		SIMPLEQ_HEAD_INITIALIZER
#define STAILQ_ENTRY			SIMPLEQ_ENTRY
#define STAILQ_FIRST			SIMPLEQ_FIRST
#define STAILQ_EMPTY			SIMPLEQ_EMPTY
#define STAILQ_NEXT			SIMPLEQ_NEXT
#define STAILQ_LAST			SIMPLEQ_LAST
#define STAILQ_INIT			SIMPLEQ_INIT
#define STAILQ_FOREACH			SIMPLEQ_FOREACH
#define STAILQ_FOREACH_SAFE		SIMPLEQ_FOREACH_SAFE
#define STAILQ_INSERT_HEAD		SIMPLEQ_INSERT_HEAD
#define STAILQ_INSERT_TAIL		SIMPLEQ_INSERT_TAIL
#define STAILQ_INSERT_AFTER		SIMPLEQ_INSERT_AFTER
#define STAILQ_REMOVE_HEAD		SIMPLEQ_REMOVE_HEAD
#define STAILQ_REMOVE			SIMPLEQ_REMOVE
#define STAILQ_CONCAT			SIMPLEQ_CONCAT

/* LIST */
#define LIST_HEAD(name, type)		struct name { struct type *lh_first; }
#define LIST_HEAD_INITIALIZER(head)	{ NULL }
#define LIST_ENTRY(type)						\
	struct { struct type *le_next; struct type **le_prev; }
#define LIST_FIRST(head)		((head)->lh_first)
#define LIST_END(head)			NULL
#define LIST_EMPTY(head)		((head)->lh_first == NULL)
#define LIST_NEXT(elm, field)		((elm)->field.le_next)
#define LIST_INIT(head)			((void)((head)->lh_first = NULL))
#define LIST_FOREACH(var, head, field)					\
	for ((var) = LIST_FIRST(head); (var) != NULL; (var) = LIST_NEXT(var, field))
#define LIST_FOREACH_SAFE(var, head, field, next)			\
	for ((var) = LIST_FIRST(head);					\
	    (var) != NULL && ((next) = LIST_NEXT(var, field), 1); (var) = (next))
#define LIST_INSERT_HEAD(head, elm, field) do {				\
	if (((elm)->field.le_next = (head)->lh_first) != NULL)		\
		(head)->lh_first->field.le_prev = &(elm)->field.le_next; \
	(head)->lh_first = (elm);					\
	(elm)->field.le_prev = &(head)->lh_first;			\
} while (0)
#define LIST_INSERT_AFTER(at, elm, field) do {				\
	if (((elm)->field.le_next = (at)->field.le_next) != NULL)	\
		(at)->field.le_next->field.le_prev = &(elm)->field.le_next; \
	(at)->field.le_next = (elm);					\
	(elm)->field.le_prev = &(at)->field.le_next;			\
} while (0)
#define LIST_INSERT_BEFORE(at, elm, field) do {				\
	(elm)->field.le_prev = (at)->field.le_prev;			\
	(elm)->field.le_next = (at);					\
	*(at)->field.le_prev = (elm);					\
	(at)->field.le_prev = &(elm)->field.le_next;			\
} while (0)
#define LIST_REMOVE(elm, field) do {					\
	if ((elm)->field.le_next != NULL)				\
		(elm)->field.le_next->field.le_prev = (elm)->field.le_prev; \
	*(elm)->field.le_prev = (elm)->field.le_next;			\
} while (0)

/* TAILQ: the head is laid out like an entry, so that the links to "whatever holds the
 * pointer to me" lead to the element before, too. */
#define TAILQ_HEAD(name, type)						\
	struct name { struct type *tqh_first; struct type **tqh_last; }
#define TAILQ_HEAD_INITIALIZER(head)	{ NULL, &(head).tqh_first }
#define TAILQ_ENTRY(type)						\
	struct { struct type *tqe_next; struct type **tqe_prev; }
#define TAILQ_FIRST(head)		((head)->tqh_first)
#define TAILQ_END(head)			NULL
#define TAILQ_EMPTY(head)		((head)->tqh_first == NULL)
#define TAILQ_NEXT(elm, field)		((elm)->field.tqe_next)
#define TAILQ_LAST(head, headname)					\
	(*(((struct headname *)(void *)((head)->tqh_last))->tqh_last))
#define TAILQ_PREV(elm, headname, field)				\
	(*(((struct headname *)(void *)((elm)->field.tqe_prev))->tqh_last))
#define TAILQ_INIT(head) do {						\
	(head)->tqh_first = NULL;					\
	(head)->tqh_last = &(head)->tqh_first;				\
} while (0)
#define TAILQ_FOREACH(var, head, field)					\
	for ((var) = TAILQ_FIRST(head); (var) != NULL; (var) = TAILQ_NEXT(var, field))
#define TAILQ_FOREACH_SAFE(var, head, field, next)			\
	for ((var) = TAILQ_FIRST(head);					\
	    (var) != NULL && ((next) = TAILQ_NEXT(var, field), 1); (var) = (next))
#define TAILQ_FOREACH_REVERSE(var, head, headname, field)		\
	for ((var) = TAILQ_LAST(head, headname); (var) != NULL; (var) = TAILQ_PREV(var, headname, field))
#define TAILQ_FOREACH_REVERSE_SAFE(var, head, headname, field, prev)	\
	for ((var) = TAILQ_LAST(head, headname);			\
	    (var) != NULL && ((prev) = TAILQ_PREV(var, headname, field), 1); (var) = (prev))
#define TAILQ_INSERT_HEAD(head, elm, field) do {			\
	if (((elm)->field.tqe_next = (head)->tqh_first) != NULL)	\
		(head)->tqh_first->field.tqe_prev = &(elm)->field.tqe_next; \
	else								\
		(head)->tqh_last = &(elm)->field.tqe_next;		\
	(head)->tqh_first = (elm);					\
	(elm)->field.tqe_prev = &(head)->tqh_first;			\
} while (0)
#define TAILQ_INSERT_TAIL(head, elm, field) do {			\
	(elm)->field.tqe_next = NULL;					\
	(elm)->field.tqe_prev = (head)->tqh_last;			\
	*(head)->tqh_last = (elm);					\
	(head)->tqh_last = &(elm)->field.tqe_next;			\
} while (0)
#define TAILQ_INSERT_AFTER(head, at, elm, field) do {			\
	if (((elm)->field.tqe_next = (at)->field.tqe_next) != NULL)	\
		(elm)->field.tqe_next->field.tqe_prev = &(elm)->field.tqe_next; \
	else								\
		(head)->tqh_last = &(elm)->field.tqe_next;		\
	(at)->field.tqe_next = (elm);					\
	(elm)->field.tqe_prev = &(at)->field.tqe_next;			\
} while (0)
#define TAILQ_INSERT_BEFORE(at, elm, field) do {			\
	(elm)->field.tqe_prev = (at)->field.tqe_prev;			\
	(elm)->field.tqe_next = (at);					\
	*(at)->field.tqe_prev = (elm);					\
	(at)->field.tqe_prev = &(elm)->field.tqe_next;			\
} while (0)
#define TAILQ_REMOVE(head, elm, field) do {				\
	if ((elm)->field.tqe_next != NULL)				\
		(elm)->field.tqe_next->field.tqe_prev = (elm)->field.tqe_prev; \
	else								\
		(head)->tqh_last = (elm)->field.tqe_prev;		\
	*(elm)->field.tqe_prev = (elm)->field.tqe_next;			\
} while (0)
#define TAILQ_CONCAT(head, more, field) do {				\
	if (!TAILQ_EMPTY(more)) {					\
		*(head)->tqh_last = (more)->tqh_first;			\
		(more)->tqh_first->field.tqe_prev = (head)->tqh_last;	\
		(head)->tqh_last = (more)->tqh_last;			\
		TAILQ_INIT(more);					\
	}								\
} while (0)

#endif
