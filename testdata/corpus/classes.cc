// What C++ refers to beside what C does: tables of virtual functions and types, thunks,
// exceptions with their tables and personality, templates and inline variables in COMDAT
// groups, guards of local statics, constructors of globals, names of one definition.
namespace std { class type_info; }
void *operator new(unsigned long n);
void operator delete(void *) noexcept;
void operator delete(void *, unsigned long) noexcept;

extern "C" int ext_one(int);
extern int ext_value;
struct Ext { int v; Ext(int); ~Ext(); virtual int run(int); };

struct Shape {
	virtual ~Shape();
	virtual int area() const = 0;
	virtual int edges() const { return 0; }
};
struct Named {
	const char *name;
	virtual const char *text() const { return name; }
	virtual ~Named() {}
};
struct Square : Shape, virtual Named {
	int side;
	explicit Square(int s) : side(s) { name = "square"; }
	int area() const override;
	int edges() const override { return 4; }
	const char *text() const override;
};
struct Round : virtual Named, Shape {
	int r = 1;
	int area() const override { return 3 * r * r; }
	const char *text() const override { return "round"; }
};
Shape::~Shape() {}
int Square::area() const { return side * side + ext_value; }
const char *Square::text() const { return side ? name : "point"; }

template <class T> struct Counter {
	static T count;
	static int tick() { static Ext e(7); return ++count + e.v; }
};
template <class T> T Counter<T>::count = 5;
template <class T> inline T shared_value = 9;
inline int inline_value = ext_value;
template <class T> __attribute__((noinline)) T twice(T v) { return v + v + shared_value<T>; }

static Ext global_one(1);
Ext global_two(2);

struct Guard { int n; ~Guard() { ext_one(n); } };

int
run(Shape *s, int n)
{
	Guard g{n};
	try {
		if (n > 3)
			throw Square(n);
		n += s->area() + s->edges();
		if (auto *sq = dynamic_cast<Square *>(s))
			n += sq->text()[0];
	} catch (const Shape &e) {
		return e.area();
	} catch (int i) {
		n += i;
	} catch (...) {
		ext_one(n);
		throw;
	}
	return n + twice(n) + twice(long(n)) + Counter<int>::tick() + Counter<long>::tick() + inline_value;
}

Shape *make(int n) { if (n) return new Square(n); return new Round; }
const std::type_info *type_of();
int (Shape::*member)() const = &Shape::area;
int (*instance)(int) = &twice<int>;
int through(Shape *s) { return (s->*member)() + instance(3) + global_two.run(1) + global_one.run(2); }
auto closure = [](int i) { return ext_one(i) + inline_value; };
int call_closure(int i) { return closure(i); }
int final_call(int i) noexcept { return ext_one(i) + run(nullptr, i); }
