/* Two modules that need each other: loaded together or not at all. */
int pong(int);
extern int pong_data;

int
ping(int n)
{
	return n == 0 ? pong_data : pong(n - 1) + 1;
}

int ping_data = 1;
