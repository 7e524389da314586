/* A second, strong definition of the kernel's data: to be refused. */
int kern_ticks = 1;
