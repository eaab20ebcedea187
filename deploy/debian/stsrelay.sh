#!/bin/sh
# /usr/bin/stsrelay: the program on the Node.js that came with it.
exec /usr/lib/stsrelay/bin/node /usr/lib/stsrelay/dist/main.js "$@"
