#!/bin/sh
# Starts cronsched from a bare checkout: environment, database, first admin, web and scheduler.
# Settings come from the environment or .env (.env.example lists them); Ctrl-C stops all of it.
self=$0
while [ -h "$self" ]; do # a link to this file, in ~/bin say
    link=$(readlink "$self")
    case $link in /*) self=$link ;; *) self=$(dirname "$self")/$link ;; esac
done
CDPATH= cd "$(dirname "$self")" || exit 1
. cronsched/find_python.sh
exec "$python" -P cronsched/bootstrap.py start "$@"
