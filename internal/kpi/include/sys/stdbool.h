/* sys/stdbool.h: bool. */
#ifndef _SYS_STDBOOL_H_
#define _SYS_STDBOOL_H_

#ifndef __cplusplus
#ifndef bool
#define bool			_Bool
#define true			1
#define false			0
#endif
#endif
#ifndef __bool_true_false_are_defined
#define __bool_true_false_are_defined 1
#endif

#endif
