#!/bin/sh
# Prints the path of the pinned JDBC driver, which it fetches once into the cache directory. It must never leave half a
# file under the final name.
set -eu
driver=postgresql-42.7.7.jar
cache=${XDG_CACHE_HOME:-$HOME/.cache}/portolan
mkdir -p "$cache"
exec 9>"$cache/java.lock"
flock 9
if [ ! -e "$cache/$driver" ]; then
    echo "fetching the JDBC driver of the tests into $cache" >&2
    draft=$(mktemp -d "$cache/java.XXXXXX")
    mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
        -Dartifact=org.postgresql:postgresql:42.7.7 -DoutputDirectory="$draft" >&2
    mv "$draft/$driver" "$cache/$driver"
    rmdir "$draft"
fi
echo "$cache/$driver"
