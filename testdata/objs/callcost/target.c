/* Another function for the driver's sites. */
void
switch_target(void)
{
}
