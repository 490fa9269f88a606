/* SPDX-License-Identifier: Apache-2.0 */
/*
 * portable.h -- so that what is built on a new glibc loads on an old one, back to 2.17.
 *
 * glibc gives a function that moved from libpthread or libdl into libc (2.34) a
 * second version, and a program that was linked to the new one does not load
 * where there is only the old.  The old version is still there everywhere, the
 * same code under the first name.  So each such function is asked for by its
 * first version: put in front of every file by src/meson.build, on the
 * architectures below and for glibc alone.
 *
 * What must hold: every symbol above GLIBC_2.17 that the linker would choose is
 * in this list.  tests/portable reads what was built, and fails for one that is
 * not; then it is to be added here, or done without.
 *
 * On the old ones these functions lie in libpthread.so.0 and libdl.so.2.  So what is
 * given away is linked to both (meson's option `portable`).  On the new ones both are
 * empty, and their loading is a third of what the library costs a short program.
 */
#include <features.h>

/* On an older one there is but the first version, and the linker of Debian 11 makes a program that
 * does not load of one that asks for a version of what libcoopdl.so has without any. */
#if __GLIBC_PREREQ(2, 32)

#if defined(__x86_64__)
#define FIRST "GLIBC_2.2.5"
#define SECOND "GLIBC_2.3.3"
#elif defined(__aarch64__)
#define FIRST "GLIBC_2.17"
#define SECOND "GLIBC_2.17"
#endif

#define OLD(name, version) __asm__(".symver " #name "," #name "@" version);

OLD(dladdr, FIRST)
OLD(dlclose, FIRST)
OLD(dlerror, FIRST)
OLD(dlopen, FIRST)
OLD(dlsym, FIRST)
OLD(pthread_attr_setstacksize, FIRST)
OLD(pthread_create, FIRST)
OLD(pthread_getcpuclockid, FIRST)
OLD(pthread_getspecific, FIRST)
OLD(pthread_key_create, FIRST)
OLD(pthread_key_delete, FIRST)
OLD(pthread_once, FIRST)
OLD(pthread_setspecific, FIRST)
OLD(pthread_testcancel, FIRST)
OLD(sem_init, FIRST)
OLD(sem_post, FIRST)
OLD(sem_trywait, FIRST)

#ifndef COOPDL_VERSION /* The library has functions of these names itself. */
OLD(pthread_join, FIRST)
OLD(pthread_sigmask, FIRST)
#endif

OLD(__pthread_register_cancel, SECOND)
OLD(__pthread_unregister_cancel, SECOND)
OLD(__pthread_unwind_next, SECOND)
OLD(dladdr1, SECOND)

/* C23's, which glibc's headers put in the place of the plain ones from 2.38 on. */
#define OLD_NAME(name, old) __asm__(".symver " #name "," #old "@" FIRST);

OLD_NAME(__isoc23_sscanf, sscanf)
OLD_NAME(__isoc23_strtol, strtol)
OLD_NAME(__isoc23_strtoll, strtoll)
OLD_NAME(__isoc23_strtoul, strtoul)
OLD_NAME(__isoc23_strtoull, strtoull)

#ifndef COOPDL_VERSION
OLD_NAME(__isoc23_fscanf, fscanf)
#endif

#undef FIRST
#undef SECOND
#undef OLD
#undef OLD_NAME

#endif
