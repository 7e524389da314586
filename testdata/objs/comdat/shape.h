/* Inline functions, a vtable and a template: each translation unit has its own copy. */
struct shape {
	virtual int area() const { return 0; }
	virtual int twice() const { return 2 * area(); }
};

inline int
helper(int x)
{
	static int calls = 1;
	return x + calls++;
}

template<typename T> __attribute__((noinline)) T
largest(T a, T b)
{
	return a > b ? a : b;
}

int describe(const shape *);
