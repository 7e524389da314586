/* The lists of sys/queue.h against an array, and a module's record. */
#include <sys/param.h>
#include <sys/module.h>
#include <sys/queue.h>
#include <sys/systm.h>
#include <klink/klink.h>

MODULE(MODULE_CLASS_MISC, queues, "first,second");

static int
queues_modcmd(modcmd_t cmd, void *arg)
{
	switch (cmd) {
	case MODULE_CMD_INIT:
	case MODULE_CMD_FINI:
		return 0;
	default:
		return ENOTTY;
	}
}

#define ITEMS	16

struct item {
	SLIST_ENTRY(item) s;
	SIMPLEQ_ENTRY(item) q;
	LIST_ENTRY(item) l;
	TAILQ_ENTRY(item) t;
	int number;
};

static struct item items[ITEMS];
SLIST_HEAD(slist, item);
SIMPLEQ_HEAD(simpleq, item);
LIST_HEAD(list, item);
TAILQ_HEAD(tailq, item);

/* Apply a program of steps to all four; what they hold is written to out, -1 between
 * them; how many words. A step is op << 8 | item; items are inserted once. */
unsigned long
queues(const unsigned *step, unsigned n, int *out)
{
	struct slist s;
	struct simpleq q = SIMPLEQ_HEAD_INITIALIZER(q);
	struct list l;
	struct tailq t = TAILQ_HEAD_INITIALIZER(t);
	struct item *i, *next;
	int *start = out;

	SLIST_INIT(&s);
	LIST_INIT(&l);
	for (unsigned k = 0; k < n; k++) {
		struct item *it = &items[(step[k] & 0xff) % ITEMS];

		it->number = (int)(it - items);
		switch (step[k] >> 8) {
		case 0:	/* in front */
			SLIST_INSERT_HEAD(&s, it, s);
			SIMPLEQ_INSERT_HEAD(&q, it, q);
			LIST_INSERT_HEAD(&l, it, l);
			TAILQ_INSERT_HEAD(&t, it, t);
			break;
		case 1:	/* behind the first */
			SLIST_INSERT_AFTER(SLIST_FIRST(&s), it, s);
			SIMPLEQ_INSERT_AFTER(&q, SIMPLEQ_FIRST(&q), it, q);
			LIST_INSERT_AFTER(LIST_FIRST(&l), it, l);
			TAILQ_INSERT_AFTER(&t, TAILQ_FIRST(&t), it, t);
			break;
		case 2:	/* out */
			SLIST_REMOVE(&s, it, item, s);
			SIMPLEQ_REMOVE(&q, it, item, q);
			LIST_REMOVE(it, l);
			TAILQ_REMOVE(&t, it, t);
			break;
		case 3:	/* at the end; lists without one: behind the last */
			SLIST_FOREACH(i, &s, s)
				if (SLIST_NEXT(i, s) == NULL)
					break;
			SLIST_INSERT_AFTER(i, it, s);
			SIMPLEQ_INSERT_TAIL(&q, it, q);
			LIST_FOREACH(i, &l, l)
				if (LIST_NEXT(i, l) == NULL)
					break;
			LIST_INSERT_AFTER(i, it, l);
			TAILQ_INSERT_TAIL(&t, it, t);
			break;
		}
	}
	SLIST_FOREACH_SAFE(i, &s, s, next)
		*out++ = i->number;
	*out++ = -1;
	SIMPLEQ_FOREACH(i, &q, q)
		*out++ = i->number;
	*out++ = SIMPLEQ_EMPTY(&q) ? -2 : SIMPLEQ_LAST(&q, item, q)->number;
	LIST_FOREACH_SAFE(i, &l, l, next) {
		*out++ = i->number;
		LIST_REMOVE(i, l);
	}
	*out++ = LIST_EMPTY(&l) ? -1 : -3;
	TAILQ_FOREACH(i, &t, t)
		*out++ = i->number;
	*out++ = -1;
	TAILQ_FOREACH_REVERSE(i, &t, tailq, t)
		*out++ = i->number;
	return (unsigned long)(out - start);
}
