-- The answer to init: a message, null if the type is unknown, or the reason why there is none.
-- parameters: type, uid
-- prepared
select pgcast.init(pgcast.from_utf8(:'type'::bytea), pgcast.from_utf8(:'uid'::bytea));
