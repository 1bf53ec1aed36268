# shellcheck shell=sh
#
# A task's way to this host: its claim, and what belongs to it.

# request run KEY=VALUE... -- NAME=VALUE... -- ARG...: claims a task, takes what belongs to it, and
# runs it when the line `go` follows.
request_run() {
  take_keys "$@"
  while [ "$1" != -- ]; do
    shift
  done
  shift
  [ -n "$g_tasks" ] || exit 1
  g_task=$g_tasks/$g_id
  if claim && { [ "$g_slots" = 0 ] || [ -n "$g_ticket" ] || ready_for_slots; } && stage && go; then
    # The supervisor's from here on, whatever becomes of this process.
    exec 8</dev/null
    run "$@"
    g_ticket=
  else
    # What follows of this request can't be told from the next one.
    exit 1
  fi
}

# claim: gets the right to start the task, which nobody else can get for this id. The tombstone of
# a task that is done keeps a late duplicate from running it again.
claim() {
  if [ -e "$g_gone/$g_id" ]; then
    fail exists "the task has ended, and its results were fetched"
    return 1
  fi
  if [ -e "$g_pids/$g_id" ]; then
    fail exists "the task was started"
    return 1
  fi
  # What it says costs a fork more.
  mkdir -p "$g_task/dir" 2>/dev/null || g_error=$(mkdir -p "$g_task/dir" 2>&1) || {
    fail work-path "$g_error"
    return 1
  }
  g_claim="$g_attempt $g_place $g_self"
  g_error=$g_claim
  set -C
  { echo "$g_claim" >"$g_task/claim"; } 2>/dev/null || g_error=
  set +C
  if [ -z "$g_error" ] && [ -e "$g_task/claim" ]; then
    read -r g_error <"$g_task/claim"
    # NFS may say that a file existed to the one who made it: what stands in it decides.
    if [ -n "$g_error" ] && [ "$g_error" != "$g_claim" ]; then
      fail exists "another session has claimed the task"
      return 1
    fi
  fi
  # The outcome is written in place when the disk may be full: its room is taken now. Its first line is
  # empty, since shells read byte by byte.
  clock
  {
    printf '\n%2047s' '' >"$g_task/outcome" && true >"$g_task/out" && true >"$g_task/err" \
      && printf '%s %s\n%s\n%s\n%s\n%s\n%s' "$g_since" "$g_clock" "$g_origin" "$g_host" "$g_name" \
        "$g_bring" "$g_globs" >"$g_task/about" \
      && { [ -z "$g_tag" ] || echo "$g_tag" >"$g_task/tag"; } \
      && { [ -z "$g_lease" ] || echo "$g_lease" >"$g_task/lease"; }
  } 2>/dev/null || {
    g_error=$(dd if=/dev/zero of="$g_task/room" bs=4096 count=1 2>&1) && g_error=
    give_up disk "$g_task: no room for the task's own files, or it can't be written${g_error:+: $g_error}"
    return 1
  }
}

# stage: takes script, input and dependencies from the channel.
stage() {
  if [ "$g_kind" != command ]; then
    g_error=$(take "$g_script" 2>&1 >"$g_task/dir/.geto-script") || {
      give_up disk "$g_task: $g_error"
      return 1
    }
    is_ours || return
  fi
  if [ -n "$g_stdin" ]; then
    g_error=$(take "$g_stdin" 2>&1 >"$g_task/stdin") || {
      give_up disk "$g_task: $g_error"
      return 1
    }
    is_ours || return
  fi
  [ -z "$g_trees" ] || use_trees || return
  if [ -n "$g_deps" ]; then
    command -v tar >/dev/null 2>&1 || {
      give_up tool "tar: not found, and dependencies are unpacked with it"
      return 1
    }
    g_error=$({ take_deps 2>/dev/null | tar -xpof - -C "$g_task/dir"; } 2>&1 >/dev/null) || {
      # What has come is kept only where the link broke: the origin goes on from there.
      [ ! -e "$g_task/unread" ] || rm -f "$g_parts/$g_id"
      give_up disk "$g_task: $g_error"
      return 1
    }
    [ "$g_deps" -lt "$g_spooled" ] || rm -f "$g_parts/$g_id"
  fi
  case $g_kind in
    binary)
      chmod 700 "$g_task/dir/.geto-script"
      [ -x "$g_task/dir/.geto-script" ] || {
        give_up interpreter "$g_work: is mounted noexec, and the script is a binary"
        return 1
      }
      ;;
    text)
      if ! [ -x "$g_interpreter" ] || [ -d "$g_interpreter" ]; then
        give_up interpreter "$g_interpreter: interpreter of the script not found"
        return 1
      fi
      ;;
  esac
}

# What is shorter is sent again when the link breaks.
g_spooled=4194304

# take_deps: copies the archive of the dependencies to stdout, and while it comes to a file from which
# another session can go on.
take_deps() {
  if [ "$g_deps" -lt "$g_spooled" ] || ! make_part; then
    take "$g_deps" || true >"$g_task/unread"
    return
  fi
  {
    {
      [ "$g_spool" = 0 ] || copy_file "$g_spool" <&5
      exec 5<&-
      take $((g_deps - g_spool))
    } || true >"$g_task/unread"
  } | tee "$g_parts/$g_id"
}

# make_part: opens what has come already as descriptor 5 and makes room for all. False where there is
# no room for the archive beside what is in it.
make_part() {
  mkdir -p "$g_parts" || return
  # What a session that is not quite dead writes there is of no concern then.
  [ "$g_spool" = 0 ] || exec 5<"$g_parts/$g_id"
  rm -f "$g_parts/$g_id"
  free_disk
  [ "$g_spool" != 0 ] || [ "${g_free:-0}" -gt $((g_deps / 400)) ]
} 2>/dev/null

# go: waits for the word that everything was sent. Its absence means that the origin is gone, or
# that it found its own files changed while it sent them.
go() {
  read -r g_rest <&3 && [ "$g_rest" = go ] && return
  release
  ! is_ours || remove_task
  return 1
}
