/* An object with a destructor: __cxa_atexit with __dso_handle, from init_array. */
struct thing {
	int n;
	thing(int x);
	~thing();
};

thing the_thing(3);

int
thing_value()
{
	return the_thing.n;
}
