"""Which store holds which table of TPC-H, in three distributions that leave no query inside one store for long."""

FACTS = ("lineitem", "orders")
BUYERS = ("customer", "nation", "region")
PARTS = ("part", "partsupp", "supplier")
TABLES = FACTS + BUYERS + PARTS

STORES = ("postgres", "mariadb", "delta")

# Every store holds every table exactly once over the three, so the comparison is between stores, not between tables.
DISTRIBUTIONS = {
    "a": {"postgres": FACTS, "mariadb": BUYERS, "delta": PARTS},
    "b": {"mariadb": FACTS, "delta": BUYERS, "postgres": PARTS},
    "c": {"delta": FACTS, "postgres": BUYERS, "mariadb": PARTS},
}

# Columns with their types in the dialect both servers understand, and the keys.
COLUMNS = {
    "region": "r_regionkey bigint NOT NULL, r_name varchar(25) NOT NULL, r_comment varchar(152) NOT NULL",
    "nation": "n_nationkey bigint NOT NULL, n_name varchar(25) NOT NULL, n_regionkey bigint NOT NULL,"
    " n_comment varchar(152) NOT NULL",
    "supplier": "s_suppkey bigint NOT NULL, s_name varchar(25) NOT NULL, s_address varchar(40) NOT NULL,"
    " s_nationkey bigint NOT NULL, s_phone varchar(15) NOT NULL, s_acctbal decimal(15,2) NOT NULL,"
    " s_comment varchar(101) NOT NULL",
    "customer": "c_custkey bigint NOT NULL, c_name varchar(25) NOT NULL, c_address varchar(40) NOT NULL,"
    " c_nationkey bigint NOT NULL, c_phone varchar(15) NOT NULL, c_acctbal decimal(15,2) NOT NULL,"
    " c_mktsegment varchar(10) NOT NULL, c_comment varchar(117) NOT NULL",
    "part": "p_partkey bigint NOT NULL, p_name varchar(55) NOT NULL, p_mfgr varchar(25) NOT NULL,"
    " p_brand varchar(10) NOT NULL, p_type varchar(25) NOT NULL, p_size int NOT NULL,"
    " p_container varchar(10) NOT NULL, p_retailprice decimal(15,2) NOT NULL, p_comment varchar(23) NOT NULL",
    "partsupp": "ps_partkey bigint NOT NULL, ps_suppkey bigint NOT NULL, ps_availqty int NOT NULL,"
    " ps_supplycost decimal(15,2) NOT NULL, ps_comment varchar(199) NOT NULL",
    "orders": "o_orderkey bigint NOT NULL, o_custkey bigint NOT NULL, o_orderstatus varchar(1) NOT NULL,"
    " o_totalprice decimal(15,2) NOT NULL, o_orderdate date NOT NULL, o_orderpriority varchar(15) NOT NULL,"
    " o_clerk varchar(15) NOT NULL, o_shippriority int NOT NULL, o_comment varchar(79) NOT NULL",
    "lineitem": "l_orderkey bigint NOT NULL, l_partkey bigint NOT NULL, l_suppkey bigint NOT NULL,"
    " l_linenumber int NOT NULL, l_quantity decimal(15,2) NOT NULL, l_extendedprice decimal(15,2) NOT NULL,"
    " l_discount decimal(15,2) NOT NULL, l_tax decimal(15,2) NOT NULL, l_returnflag varchar(1) NOT NULL,"
    " l_linestatus varchar(1) NOT NULL, l_shipdate date NOT NULL, l_commitdate date NOT NULL,"
    " l_receiptdate date NOT NULL, l_shipinstruct varchar(25) NOT NULL, l_shipmode varchar(10) NOT NULL,"
    " l_comment varchar(44) NOT NULL",
}

KEYS = {
    "region": "r_regionkey",
    "nation": "n_nationkey",
    "supplier": "s_suppkey",
    "customer": "c_custkey",
    "part": "p_partkey",
    "partsupp": "ps_partkey, ps_suppkey",
    "orders": "o_orderkey",
    "lineitem": "l_orderkey, l_linenumber",
}


def schema(store: str, distribution: str) -> str:
    """The SQL schema of a store's tables of one distribution, at the gateway and at the store."""
    # A lake beside the gateway's own shows a schema for each of its zones.
    return f"{store}_{distribution}" + ("_gold" if store == "delta" else "")
