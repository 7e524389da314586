/* Thread-local data of somebody else: no section of its own tells, only relocations do. */
extern __thread int tls_elsewhere;

int tls_read(void) { return tls_elsewhere; }
int tls_write(int x) { return tls_elsewhere = x; }
int *tls_where(void) { return &tls_elsewhere; }
