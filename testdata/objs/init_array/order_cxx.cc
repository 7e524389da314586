/* Static objects whose constructors run, by priority, and find the values that those
 * before them left. */
extern "C" void order_note(int);

struct counted {
	static int last;
	int value;

	explicit counted(int step) : value(last += step) { order_note(value); }
};

int counted::last = 40;

counted third(3);
counted second __attribute__((init_priority(200))) (2);
counted first __attribute__((init_priority(101))) (1);

/* What the constructors left: 41, 43, 46. */
extern "C" int
order_sum()
{
	return first.value + second.value + third.value;
}
