<?php
/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scope.php URL SECONDS -- a deadline in PHP, by FFI to the C API.
 *
 *     LD_PRELOAD=libcoopdl.so php scope.php http://example.org/ 5
 *
 * The library is preloaded, so FFI finds its functions in the process.
 */
$coopdl = FFI::cdef('
    typedef struct { void *thread; uint64_t place; uint64_t reserved[2]; } coopdl_scope;
    int64_t coopdl_after(int64_t nanoseconds);
    int coopdl_enter(coopdl_scope *scope, int64_t deadline);
    int coopdl_leave(coopdl_scope *scope);
');

$scope = $coopdl->new('coopdl_scope');
if ($coopdl->coopdl_enter(FFI::addr($scope), $coopdl->coopdl_after((int) ($argv[2] * 1e9))) != 0)
    exit(2);
$text = @file_get_contents($argv[1]);
$late = $coopdl->coopdl_leave(FFI::addr($scope)) == 1;
echo $late ? "too late\n" : strlen($text) . " bytes\n";
exit((int) $late);
