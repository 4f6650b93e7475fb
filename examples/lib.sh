# SPDX-License-Identifier: Apache-2.0
#
# What the examples' scripts share; sourced with $here, the example's folder. Installs what is missing, builds, and ends everything that was started.
cd "$here/../.."
tests/setup/packages build
make --no-print-directory -s build/leat
leat=$PWD/build/leat
patience=300 # seconds; only what fails needs so many, and a busy machine takes its time

work=$(mktemp -d)
started=
clean_up() {
    for pid in $started; do kill "$pid" 2> /dev/null || true; done
    wait
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# await FILE PATTERN PID: until the file has a line with the pattern; fails when the process ends before
await() {
    until grep -q "$2" "$1" 2> /dev/null; do
        kill -0 "$3" 2> /dev/null || { cat "$1" >&2; echo "it ended before it was ready" >&2; exit 1; }
        sleep 0.05
    done
}

# service NAME OPTIONS of leat listen: $NAME is its process. Its output goes to the terminal; its first line, with the address, to a file as well.
service() {
    name=$1
    shift
    timeout "$patience" "$leat" listen 127.0.0.1:0 --name "$name" "$@" > "$work/$name" &
    eval "$name=$!"
    started="$started $!"
    await "$work/$name" listening "$!"
    tail -n +2 -f --pid="$!" "$work/$name" &
}
address() { sed -n 's/^listening on //p' "$work/$1"; }

# serve OPTIONS of leat serve: sets $ingress, and LEAT_SERVER for the other verbs
serve() {
    "$leat" serve -f "$here" --data-dir "$work/data" --ingress 127.0.0.1:0 --api 127.0.0.1:0 "$@" > "$work/serve" &
    serve=$!
    started="$started $serve"
    await "$work/serve" ready "$serve"
    ingress=$(sed -n 's/^ingress //p' "$work/serve")
    LEAT_SERVER=$(sed -n 's/^api //p' "$work/serve")
    export LEAT_SERVER
}

stop_server() {
    echo "== stopping"
    kill -TERM "$serve"
    wait "$serve" || { echo "leat serve stopped with an error" >&2; exit 1; }
}
