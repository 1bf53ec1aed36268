#!/bin/sh
# What geto does with a script: it runs in a directory of its own on a host, what it prints appears
# as it is printed, and the files that it leaves come home.
echo "Hello from $(uname -n), task $GETO_TASK_ID."
echo "Messages on stderr stay apart." >&2
echo "result of $GETO_SCRIPT on $GETO_HOST" > result.txt
