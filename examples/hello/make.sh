#!/bin/sh
# Makes ./app/hello, a program whose dynamic linker does not exist, and ./lib/libanswer.so, which ld.so does not find.
set -eu
source=$(dirname "$0")
mkdir -p app lib
${CC:-cc} -shared -fPIC -o lib/libanswer.so "$source/answer.c"
${CC:-cc} -o app/hello "$source/hello.c" -Llib -lanswer -Wl,--dynamic-linker=/gone/ld.so
