int ping(int);
extern int ping_data;

int
pong(int n)
{
	return n == 0 ? ping_data : ping(n - 1) + 1;
}

int pong_data = 2;
