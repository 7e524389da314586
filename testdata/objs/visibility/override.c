/* Overrides for what provider.c gives as a default, were it weak. */
int vis_default(int x) { return x + 100; }
