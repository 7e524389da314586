/* What all.c wants of others, but ext_maybe, which nobody provides. */
unsigned char ext_u8 = 11;
unsigned short ext_u16 = 12;
unsigned ext_u32 = 13;
unsigned long ext_u64 = 14;
int ext_array[8] = { 20, 21, 22, 23, 24, 25, 26, 27 };

int ext_call(int x) { return x + 100; }
int ext_tail(int x) { return x + 200; }
int ext_pointer(int x) { return x + 300; }

int
ext_report(const char *format, ...)
{
	return format[0];
}

#ifdef __cplusplus
/* all.c makes aliases of this name, which it does not have in C++. */
extern "C" int own_function(int x) { return x + 400; }
#endif
