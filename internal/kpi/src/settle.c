/*
 * settle.c: what is done for a call that was given up.
 *
 * The runner has the thread call klink_settle, on an empty stack, before it is idle
 * again. A fault here is the end of the runner; nothing here waits for anybody.
 */
#include "kpi.h"

void klink_settle(void)
{
	struct klink_thread *t = self();

	t->critical = 0;
	if (t->sleep & 1)
		store(&t->sleep, t->sleep + 1);
	store(&mine(t)->ident, 0);
	klink_cv_settle(t);
	klink_mutex_settle(t);
	klink_gate_settle(t);
	klink_kthread_settle(t);
	klink_line_end(t);
}
