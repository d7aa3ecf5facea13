#!/bin/sh
# Runs the tests from a bare checkout; arguments go to pytest. REQUIRE_SERVICES=1 also runs the tests
# marked `databases` on MariaDB and PostgreSQL (MARIADB_URL, POSTGRES_URL), and skips nothing.
self=$0
while [ -h "$self" ]; do # a link to this file, in ~/bin say
    link=$(readlink "$self")
    case $link in /*) self=$link ;; *) self=$(dirname "$self")/$link ;; esac
done
CDPATH= cd "$(dirname "$self")" || exit 1
. cronsched/find_python.sh
exec "$python" -P cronsched/bootstrap.py test "$@"
