# What the scripts that run all rows of a paper's tables share: their options, one step of a row, and what is told at the end. To be sourced.
# shellcheck shell=bash
set -uo pipefail
script=$0 name_of_script=$(basename "$0" .sh)
read -r -a magic <<< "${MAGIC:-magic}"
experiments=$(cd "$(dirname "${BASH_SOURCE[0]}")/../configs/experiment" && pwd)
pattern='*' settings=() scoring=() failed=() found=0

tell() { echo "$name_of_script: $*" >&2; }

# Sets pattern, settings and scoring, and variant of a script that has one set already; its usage is the comment that opens it.
read_options() {
    while (($#)); do
        case $1 in
            --rows) pattern=${2:?--rows needs a pattern}; shift 2 ;;
            --rows=*) pattern=${1#--rows=}; shift ;;
            --variant) [[ -v variant ]] || { tell "unexpected '$1'; see --help"; exit 2; }; variant=${2:?--variant needs a name}; shift 2 ;;
            --) shift; scoring=("$@"); break ;;
            -h | --help) sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$script"; exit 0 ;;
            *=*) settings+=("$1"); shift ;;
            *) tell "unexpected '$1'; see --help"; exit 2 ;;
        esac
    done
}

# Whether an experiment is asked for.
is_wanted() {
    # shellcheck disable=SC2254 # the pattern is one
    case $1 in $pattern) found=1; tell "$1" ;; *) return 1 ;; esac
}

# Run a command with its output on stderr; status 3 means that some items could not be written: told, and gone on with.
step() {
    local name=$1 what=$2 status=0
    shift 2
    "$@" >&2 || status=$?
    ((status == 130 || status == 143)) && exit $status
    ((status)) && failed+=("$name: $what ended with status $status")
    ((status == 0 || status == 3))
}

require_found() { ((found)) || { tell "--rows $pattern: no such experiment in $experiments"; exit 2; }; }

# Print what failed; the exit status says whether something did.
finish() {
    for line in "${failed[@]}"; do tell "$line"; done
    ((${#failed[@]} == 0))
}
