# shellcheck shell=sh
#
# Reads requests and answers them.

say hello "$$"
while read -r g_line <&3; do
  eval "set -- $g_line"
  # A line of more than 4 KB is slow to read; it comes as counted bytes. What follows its first line (of the
  # request `more`) are further functions.
  [ "${1-}" != long ] || {
    g_line=$(take "$2" 2>/dev/null && echo .)
    eval "set -- ${g_line%.}"
  }
  g_request=${1-}
  [ $# -eq 0 ] || shift
  case $g_request in
    work) request_work "$@" ;;
    facts) request_facts ;;
    status) request_status "$@" ;;
    ticket) request_ticket "$@" ;;
    try) request_try ;;
    check) request_check ;;
    run) request_run "$@" ;;
    attach) request_attach "$@" ;;
    list) request_list ;;
    files) request_files "$@" ;;
    remove) request_remove "$@" ;;
    hold) request_hold "$@" ;;
    drop) request_drop "$@" ;;
    fill) request_fill "$@" ;;
    evict) request_evict ;;
    # What follows is not read: shells read byte by byte.
    end) break ;;
    # This program once more: the start-up files of the login shell have read something, and the
    # origin has repeated it all.
    geto-begin) take "$1" >/dev/null 2>&1 ;;
    '' | more | ack | cancel | go | alive | look | ticks | geto-ping) ;;
    *) fail request "unknown request" ;;
  esac
done
release
[ -z "${g_holds-}" ] || let_go
# Tombstones have done their duty after two days, which are more than one whole one to find. One session
# in sixteen looks.
case $g_nonce in
  0*)
    [ -z "${g_gone-}" ] || {
      find "$g_gone" "$g_parts" -type f -mtime +1 -exec rm -f {} +
      # Those of tasks that are there are in use.
      for g_task in "$g_pids"/*; do
        [ -d "$g_tasks/${g_task##*/}" ] || find "$g_task" -mtime +1 -exec rm -f {} +
      done
    } 2>/dev/null
    ;;
esac
exit 0
