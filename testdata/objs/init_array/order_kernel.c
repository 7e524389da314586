/* The kernel of order.kmod and order_cxx.kmod: it keeps what they say, in order. */
#define MOST	16

int order[MOST], order_count;

void
order_note(int what)
{
	if (order_count < MOST)
		order[order_count++] = what;
}
