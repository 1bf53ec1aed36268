# shellcheck shell=sh
#
# Trees of dependencies that tasks share: `cache/DIGEST` holds the tree `t`, its `size` in KiB with the start of
# the machine in which it came, `synced` once it is on the disk, and a mark `in.ID` for each task that uses it.
# Marks come and go, and so the time of the directory tells when it was used last. One that is on
# its way in is `DIGEST.part.PID:BEGAN` and has the mark of the task that it is for, one on its way out is
# `DIGEST.gone`. `DIGEST.fill` only keeps others from bringing it, too: where two do, one of them counts.
#
# A session that is to run a task hears of this only when the task needs such a tree.

g_holds=''
# A session that runs no tasks can't end any.
command -v end_tree >/dev/null || g_reaps=''

# request hold DIGEST ID PATIENCE ORIGIN BASE...: gets the right to fill the cache with this tree, for that
# task, or tells that it is there. One who brings nothing more of it for PATIENCE seconds loses that right.
# Of the bases, the first that is there is what the new tree begins with.
request_hold() {
  [ -n "$g_tasks" ] || exit 1
  g_tree=$g_cache/$1 g_id=$2 g_for="$2 $4"
  g_seen=- g_next=0
  g_error=$(mkdir -p "$g_cache" 2>&1) || {
    fail disk "$g_error"
    return
  }
  until has_tree || hold; do
    [ -z "$g_error" ] || {
      fail disk "$g_cache: $g_error"
      return
    }
    clock
    if [ "${g_clock%.*}" -ge "$g_next" ]; then
      g_next=$((${g_clock%.*} + $3))
      has_grown || rm -f "$g_tree.fill"
      # Words keep the origin from taking this for a host that hangs.
      say held "wait $g_holder_for"
    fi
    sleep 0.1 || sleep 1
  done
  if [ -z "$g_holds" ] || has_tree; then
    let_go
    say held filled
    return
  fi
  tidy
  g_task=$g_tree.part.$g_self
  g_error=$({ mkdir "$g_task" && echo "$g_place $g_self" >"$g_task/in.$g_id"; } 2>&1) || {
    let_go
    fail disk "$g_error"
    return
  }
  g_id=$1-$2 g_base=-
  shift 4
  for g_rest in "$@"; do
    g_base=$g_rest
    is_sound "$g_cache/$g_base" || continue
    # Names of the same files, not copies: what changes is taken away before it comes anew.
    cp -al "$g_cache/$g_base/t" "$g_task/t" 2>/dev/null && break
    remove_tree "$g_task/t"
  done
  [ -d "$g_task/t" ] || g_base=-
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

# has_tree: whether g_tree is there, and stays until the task has come that is to use it.
has_tree() {
  # Whoever makes room sees the mark, or this finds nothing.
  {
    [ -d "$g_tree" ] || return
    if is_sound "$g_tree"; then
      echo "$g_place $g_self" >"$g_tree/in.$g_id" && is_sound "$g_tree"
    else
      forget "$g_tree"
      false
    fi
  } 2>/dev/null
}

# is_sound TREE: whether it is there, and all of it: a machine that lost its power may have kept the names of
# files without what was in them.
is_sound() {
  g_kib='' g_start=''
  { read -r g_kib g_start <"$1/size"; } 2>/dev/null
  [ -n "$g_kib" ] && { [ "$g_start" = "$g_boot" ] || [ -e "$1/synced" ]; }
}

# hold: gets the right to fill the cache with g_tree; false while a living session of another task has it,
# and when it can't be had, with the reason in g_error.
hold() {
  set -C
  { true >"$g_tree.fill"; } 2>/dev/null && g_holds=yes
  set +C
  if [ -n "$g_holds" ]; then
    { echo "$g_place $g_self $g_for" >"$g_tree.fill"; } 2>/dev/null && return
    # One that names nobody would keep others waiting.
    g_holds=
    rm -f "$g_tree.fill"
    g_error='no room'
    return 1
  fi
  if [ -e "$g_tree.fill" ]; then
    g_tries=0
    if ! is_held "$g_tree.fill"; then
      rm -f "$g_tree.fill"
    elif [ "${g_holder_for%% *}" = "$g_id" ]; then
      # Its own origin has come anew: it waits for bytes that will not come.
      [ "$g_holder_place" != "$g_place" ] || [ -z "$g_proc" ] || kill -9 "${g_holder%:*}" 2>/dev/null
      rm -f "$g_tree.fill"
    fi
  else
    # Somebody has just removed it; or it can't be made.
    g_tries=$((${g_tries:-0} + 1))
    [ "$g_tries" -lt 50 ] || g_error="can't be written to"
  fi
  false
}

# is_held FILE: whether the session that wrote this of itself is there; sets g_holder*.
is_held() {
  g_holder_place='' g_holder='' g_holder_for=''
  { read -r g_holder_place g_holder g_holder_for <"$1"; } 2>/dev/null
  if [ -n "$g_holder" ]; then
    lives "$g_holder_place" "$g_holder"
  else
    # It is being written, or could not be.
    [ -z "$(find "$1" -prune -mtime +0 2>/dev/null)" ]
  fi
}

# has_grown: whether there is more of g_tree than when this was asked last.
has_grown() {
  g_rest=$(du -sk "$g_tree".part.* "$g_parts/${g_tree##*/}"-* 2>/dev/null)
  [ "$g_rest" != "$g_seen" ] || return
  g_seen=$g_rest
}

# let_go: gives the right back, unless another one has it by now, and removes what is not whole.
let_go() {
  [ -n "$g_holds" ] || return 0
  g_holds=
  is_held "$g_tree.fill"
  [ "$g_holder_place $g_holder" != "$g_place $g_self" ] || rm -f "$g_tree.fill"
  remove_tree "$g_tree.part.$g_self"
}

# request drop PATH...: takes these away from what the tree begins with.
request_drop() {
  [ -n "$g_holds" ] || exit 1
  (
    cd "$g_task" || exit
    for g_rest in "$@"; do
      case $g_rest in
        */*)
          # What comes there next may be a file in a directory that can't be written to.
          [ ! -d "${g_rest%/*}" ] || [ -w "${g_rest%/*}" ] || chmod u+rwx "${g_rest%/*}"
          ;;
      esac
    done
    remove_tree "$@"
  ) || exit 1
}

# request fill LENGTH SPOOLED SIZE LIMIT PACKED [shut]: takes the archive of what the base lacks, and keeps at
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
  # Not before there is something in them: not every tar leaves that for the end.
  [ "${6-}" != shut ] || g_error=$(find "$g_task/t" -type d -exec chmod a-w {} + 2>&1) || quit "$g_error"
  { echo "$g_size $g_boot" >"$g_task/size"; } 2>/dev/null || quit 'no room'
  # Another one may have been faster, even in this moment.
  [ -d "$g_tree" ] || mv "$g_task" "$g_tree" 2>/dev/null
  [ ! -d "$g_tree/${g_task##*/}" ] || remove_tree "$g_tree/${g_task##*/}"
  let_go
  say held filled
  # Nobody waits for that.
  (
    drop_ticket
    evict "$g_limit" "$g_tree"
    { sync -f "$g_tree/size" || sync; } && true >"$g_tree/synced"
  ) 2>/dev/null 3<&- 4>&- &
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

# tidy: removes what sessions that were ended have left, on its way in or out.
tidy() {
  for g_rest in "$g_cache"/*.fill; do
    [ ! -f "$g_rest" ] || is_held "$g_rest" || rm -f "$g_rest"
  done
  for g_rest in "$g_cache"/*.part.* "$g_cache"/*.gone; do
    [ ! -d "$g_rest" ] || is_used "$g_rest" || remove_tree "$g_rest"
  done
}

# evict LIMIT KEPT: removes the trees that nobody has used for the longest time, until all take at most
# LIMIT KiB; never KEPT, nor one that a task has which is still there. Sets g_freed.
evict() {
  g_freed=0 g_total=0
  tidy
  for g_rest in "$g_cache"/*/size; do
    { read -r g_more g_last <"$g_rest"; } 2>/dev/null && reckon "$g_total" + "$g_more" && g_total=$g_sum
  done
  # The names are digests. As words of a command they may be too many.
  # shellcheck disable=SC2045
  for g_rest in $(cd "$g_cache" && ls -tr 2>/dev/null); do
    reckon "$1" - "$g_total"
    case $g_sum in -*) ;; *) break ;; esac
    # What has more than a digest for a name is on its way in or out.
    case $g_rest in *.*) continue ;; esac
    g_task=$g_cache/$g_rest
    { [ "$g_task" != "$2" ] && read -r g_size g_last <"$g_task/size" && forget "$g_task"; } 2>/dev/null \
      || continue
    reckon "$g_total" - "$g_size"
    g_total=$g_sum
    reckon "$g_freed" + "$g_size"
    g_freed=$g_sum
  done
}

# request evict: removes all trees that no task has which is still there, and says how many KiB were freed.
request_evict() {
  [ -n "$g_tasks" ] || exit 1
  evict 0 ''
  say freed "$g_freed"
}

# use_trees: gives the task copies of the trees that it needs, or links to them, out of the cache.
use_trees() {
  g_more=
  case $(cp --help 2>&1) in *--reflink*) g_more=--reflink=auto ;; esac
  g_error=$(mkdir -p "$g_task/dir/DEPS" 2>&1) || {
    give_up disk "$g_task: $g_error"
    return 1
  }
  IFS=$g_nl
  set -f
  # shellcheck disable=SC2086  # lines: how, digest, name
  set -- $g_trees
  set +f
  IFS=" $g_tab$g_nl"
  for g_rest in "$@"; do
    g_tree=${g_rest#*/}
    g_to=$g_task/dir/DEPS/${g_tree#*/}
    g_tree=$g_cache/${g_tree%%/*}
    # Whoever makes room sees the mark, or this finds nothing.
    { echo "${g_tree##*/}" >>"$g_task/trees" && true >"$g_tree/in.$g_id"; } 2>/dev/null
    if ! [ -e "$g_tree/in.$g_id" ] || ! is_sound "$g_tree"; then
      give_up missing "${g_tree##*/}"
      return 1
    fi
    case $g_rest in
      share/*) g_error=$(ln -s "$g_tree/t" "$g_to" 2>&1) ;;
      *) g_error=$(cp -a ${g_more:+"$g_more"} "$g_tree/t" "$g_to" 2>&1) ;;
    esac || {
      # There may be room for the one or for the other. What others use is left alone, and comes again.
      release
      remove_task
      forget "$g_tree"
      give_up crowded "$g_task: $g_error"
      return 1
    }
  done
}

# is_used TREE: whether a task is there that has used it, or a session that is to run one.
is_used() {
  for g_mark in "$1"/in.*; do
    [ -e "$g_mark" ] || continue
    [ ! -d "$g_tasks/${g_mark##*/in.}" ] || return 0
    g_holder_place='' g_holder=''
    { read -r g_holder_place g_holder <"$g_mark"; } 2>/dev/null
    [ -z "$g_holder" ] || ! lives "$g_holder_place" "$g_holder" || return 0
    rm -f "$g_mark"
  done
  false
}

# forget TREE: removes it, unless it is used.
forget() {
  ! is_used "$1" && [ ! -e "$1.gone" ] && mv "$1" "$1.gone" 2>/dev/null || return
  # One may have come in between.
  if is_used "$1.gone"; then
    [ -d "$1" ] || mv "$1.gone" "$1"
    return 1
  fi
  remove_tree "$1.gone"
}
