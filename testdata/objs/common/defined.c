/* Real data under the names that the others have as COMMON. */
int shared_counter = 40;
char shared_buffer[64] = "initialised";
