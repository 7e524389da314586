/*
 * sys/module.h: what makes an object a module.
 *
 *	MODULE(MODULE_CLASS_MISC, example, "other,another");
 *
 *	static int
 *	example_modcmd(modcmd_t cmd, void *arg)
 *	{
 *		switch (cmd) {
 *		case MODULE_CMD_INIT:	return 0;
 *		case MODULE_CMD_FINI:	return 0;
 *		default:		return ENOTTY;
 *		}
 *	}
 *
 * The kernel linker reads the name and what is required (names with commas between
 * them, or NULL) from the file, and calls modcmd:
 *
 *	INIT	at load, before anybody can reach the module by a name that others have too
 *	CATCH	before an unload: change your behaviour for threads that still enter (their
 *		gates, klink/gate.h). ENOTTY: there is nothing to prepare
 *	FINI	nobody new can enter: wake the sleepers, wait for them, free everything. An
 *		error puts the module back as it was
 *	UNCATCH	the unload is off: undo CATCH
 */
#ifndef _SYS_MODULE_H_
#define _SYS_MODULE_H_

#include <sys/param.h>

typedef enum modclass {
	MODULE_CLASS_ANY,
	MODULE_CLASS_MISC,
	MODULE_CLASS_VFS,
	MODULE_CLASS_DRIVER,
	MODULE_CLASS_EXEC,
	MODULE_CLASS_SECMODEL,
	MODULE_CLASS_BUFQ,
	MODULE_CLASS_MAX
} modclass_t;

typedef enum modcmd {
	MODULE_CMD_INIT,
	MODULE_CMD_FINI,
	MODULE_CMD_STAT,
	MODULE_CMD_AUTOUNLOAD,
	MODULE_CMD_CATCH,	/* klink's */
	MODULE_CMD_UNCATCH	/* klink's */
} modcmd_t;

/* The record; its address stands in the section link_set_modules. */
typedef struct modinfo {
	u_int		 mi_version;
	modclass_t	 mi_class;
	int		(*mi_modcmd)(modcmd_t, void *);
	const char	*mi_name;
	const char	*mi_required;
} const modinfo_t;

#define MODULE(class, name, required)					\
	static int name##_modcmd(modcmd_t, void *);			\
	static const modinfo_t name##_modinfo = {			\
		__NetBSD_Version__, (class), &name##_modcmd, #name, (required) \
	};								\
	__link_set_add_rodata(modules, name##_modinfo)

#endif
