# shellcheck shell=sh
#
# Trees of dependencies that tasks share: `cache/DIGEST` holds the tree `t`, its `size` in KiB, the
# stamp `used`, and a mark `in.ID` for each task that has used it and may still be there.

# The tasks of others are of no concern here.
g_reaps=''
g_holds=''

# request hold DIGEST TOKEN BASE...: gets the right to fill the cache with this tree, or tells that it
# is there. Of the bases, the first that is there is what the new tree begins with. TOKEN tells what
# another session of the same origin has left of the same archive.
request_hold() {
  [ -n "$g_tasks" ] || exit 1
  g_tree=$g_cache/$1
  g_waits=0
  g_error=$(mkdir -p "$g_cache" 2>&1) || {
    fail disk "$g_error"
    return
  }
  while ! [ -d "$g_tree" ]; do
    hold && break
    [ -z "$g_error" ] || {
      fail disk "$g_cache: $g_error"
      return
    }
    # Words keep the origin from taking this for a host that hangs.
    [ $((g_waits % 100)) != 0 ] || say held wait
    g_waits=$((g_waits + 1))
    sleep 0.1 || sleep 1
  done
  if [ -d "$g_tree" ]; then
    let_go
    { true >"$g_tree/used"; } 2>/dev/null
    say held filled
    return
  fi
  g_id=$2 g_base=-
  shift 2
  g_task=$g_tree.part.$$
  for g_rest in "$g_tree".part.*; do
    remove_tree "$g_rest"
  done
  g_error=$(mkdir "$g_task" 2>&1) || {
    let_go
    fail disk "$g_error"
    return
  }
  for g_rest in "$@"; do
    [ -d "$g_cache/$g_rest/t" ] || continue
    # Names of the same files, not copies: what changes is taken away before it comes anew.
    if cp -al "$g_cache/$g_rest/t" "$g_task/t" 2>/dev/null; then
      g_base=$g_rest
    else
      remove_tree "$g_task/t"
    fi
    break
  done
  # An archive that begins with another tree is another one.
  g_id=$g_id-$g_base
  g_spool=0
  [ ! -f "$g_parts/$g_id" ] || g_spool=$(wc -c <"$g_parts/$g_id")
  g_more=plain
  ! command -v zstd >/dev/null 2>&1 || g_more=zstd
  # Some systems put blanks in front of the number.
  reckon "$g_spool" + 0
  say held "fill $g_base $g_sum $g_more"
}

# hold: gets the right to fill the cache with g_tree; false while a living session has it, and when it
# can't be had, with the reason in g_error.
hold() {
  set -C
  { true >"$g_tree.fill"; } 2>/dev/null && g_holds=yes
  set +C
  if [ -n "$g_holds" ]; then
    { echo "$g_place $g_self" >"$g_tree.fill"; } 2>/dev/null && return
    # One that names nobody would keep others waiting.
    let_go
    g_error='no room'
    return 1
  fi
  if [ -e "$g_tree.fill" ]; then
    g_tries=0
    is_held "$g_tree.fill" || rm -f "$g_tree.fill"
  else
    # Somebody has just removed it; or it can't be made.
    g_tries=$((${g_tries:-0} + 1))
    [ "$g_tries" -lt 50 ] || g_error="can't be written to"
  fi
  false
}

# is_held FILE: whether the session that wrote this of itself is there.
is_held() {
  g_rest='' g_more=''
  { read -r g_rest g_more <"$1"; } 2>/dev/null
  if [ -n "$g_more" ]; then
    lives "$g_rest" "$g_more"
  else
    # It is being written, or could not be.
    [ -z "$(find "$1" -prune -mtime +0 2>/dev/null)" ]
  fi
}

# let_go: gives the right back, and removes what is not whole.
let_go() {
  [ -n "$g_holds" ] || return 0
  g_holds=
  rm -f "$g_tree.fill"
  remove_tree "$g_tree.part.$$"
}

# request drop PATH...: takes these away from what the tree begins with.
request_drop() {
  [ -n "$g_holds" ] || exit 1
  cd "$g_task" || exit 1
  for g_rest in "$@"; do
    case $g_rest in
      */*)
        # What comes there next may be a file in a directory that can't be written to.
        [ ! -d "${g_rest%/*}" ] || [ -w "${g_rest%/*}" ] || chmod u+rwx "${g_rest%/*}"
        ;;
    esac
  done
  remove_tree "$@"
  cd /
}

# request fill LENGTH SPOOLED SIZE LIMIT PACKED: takes the archive of what the base lacks, and keeps at
# most LIMIT KiB of trees, of which this one has SIZE.
request_fill() {
  [ -n "$g_holds" ] || exit 1
  g_deps=$1 g_spool=$2 g_size=$3 g_limit=$4 g_packed=$5
  g_error=$({ take_deps 2>/dev/null | unpack | tar -xpof - -C "$g_task"; } 2>&1 >/dev/null) || {
    # Where the link broke, what has come is kept: the origin goes on from there.
    [ ! -e "$g_task/unread" ] || rm -f "$g_parts/$g_id"
    quit "$g_error"
  }
  # Some take an archive for whole that lacks its end, and the origin may have found its files changed.
  g_rest=
  read -r g_rest <&3
  [ "$g_rest" = whole ] || {
    let_go
    exit 1
  }
  rm -f "$g_parts/$g_id"
  { echo "$g_size" >"$g_task/size" && true >"$g_task/used"; } 2>/dev/null || {
    quit 'no room'
  }
  # What was on its way for two days may have been taken for dead, and filled by another.
  [ -d "$g_tree" ] || mv "$g_task" "$g_tree" 2>/dev/null
  let_go
  say held filled
  evict "$g_limit" "$g_tree"
}

# quit TEXT: the tree can't be kept. What follows of it can't be told from requests.
quit() {
  let_go
  fail disk "$g_cache: $1"
  exit 1
}

# unpack: copies stdin, which the origin may have packed.
unpack() {
  case $g_packed in
    zstd) zstd -dcq ;;
    *) cat ;;
  esac
}

# evict LIMIT KEPT: removes the trees that nobody has used for the longest time, until all take at most
# LIMIT KiB; never KEPT, nor one that a task has which is still there. Sets g_freed.
evict() {
  g_freed=0 g_total=0
  for g_rest in "$g_cache"/*.fill; do
    [ ! -f "$g_rest" ] || is_held "$g_rest" || {
      remove_tree "${g_rest%.fill}.part".*
      rm -f "$g_rest"
    }
  done
  for g_rest in "$g_cache"/*/size; do
    { read -r g_more <"$g_rest"; } 2>/dev/null && reckon "$g_total" + "$g_more" && g_total=$g_sum
  done
  # The names are digests.
  # shellcheck disable=SC2045
  for g_rest in $(ls -tr "$g_cache"/*/used 2>/dev/null); do
    reckon "$1" - "$g_total"
    case $g_sum in -*) ;; *) break ;; esac
    g_task=${g_rest%/used}
    # What has more than a digest for a name is on its way in or out.
    case ${g_task##*/} in *.*) continue ;; esac
    { [ "$g_task" != "$2" ] && ! is_used "$g_task" && read -r g_more <"$g_task/size" \
      && mv "$g_task" "$g_task.gone"; } 2>/dev/null || continue
    # One may have come in between.
    if is_used "$g_task.gone"; then
      mv "$g_task.gone" "$g_task"
      continue
    fi
    remove_tree "$g_task.gone"
    reckon "$g_total" - "$g_more"
    g_total=$g_sum
    reckon "$g_freed" + "$g_more"
    g_freed=$g_sum
  done
}

# is_used TREE: whether a task is there that has used it.
is_used() {
  for g_mark in "$1"/in.*; do
    [ ! -e "$g_mark" ] || {
      [ ! -d "$g_tasks/${g_mark##*/in.}" ] || return 0
      rm -f "$g_mark"
    }
  done
  false
}

# request evict: removes all trees that no task has which is still there, and says how many KiB were freed.
request_evict() {
  [ -n "$g_tasks" ] || exit 1
  evict 0 ''
  for g_rest in "$g_cache"/*.gone; do
    remove_tree "$g_rest"
  done
  say freed "$g_freed"
}
