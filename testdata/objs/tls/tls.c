/* Thread-local data: refused. */
__thread int tls_counter = 3;
extern __thread int tls_other;

int
tls_bump(void)
{
	return ++tls_counter + tls_other;
}
