import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;

/**
 * Asks a demo through pgjdbc what database tools ask: the metadata calls, prepared statements that turn binary after
 * five uses, and results fetched in parts. Prints every difference; the exit code is 1 if there was one.
 */
public final class Metadata {
    private static int differences = 0;

    private Metadata() {}

    public static void main(String[] arguments) throws SQLException {
        String url = "jdbc:postgresql://" + arguments[0] + "/portolan?user=demo&password=demo";
        try (Connection connection = DriverManager.getConnection(url)) {
            tables(connection.getMetaData());
            statements(connection);
            parts(connection);
            refusals(connection);
        }
        System.out.println(differences + " differences");
        System.exit(differences == 0 ? 0 : 1);
    }

    private static void equal(String what, Object got, Object expected) {
        if (!expected.equals(got)) {
            differences++;
            System.err.println("differs: " + what + "\n    got      " + got + "\n    expected " + expected);
        }
    }

    private static List<String> rows(ResultSet answer, String... columns) throws SQLException {
        List<String> rows = new ArrayList<>();
        while (answer.next()) {
            List<String> row = new ArrayList<>();
            for (String column : columns) {
                row.add(answer.getString(column));
            }
            rows.add(String.join(" ", row));
        }
        return rows;
    }

    private static void tables(DatabaseMetaData data) throws SQLException {
        equal("product", data.getDatabaseProductName() + " " + data.getDatabaseMajorVersion(), "PostgreSQL 17");
        equal("read-only user", data.getUserName(), "demo");
        List<String> schemas = rows(data.getSchemas(), "TABLE_SCHEM");
        for (String schema : List.of("tos", "events", "weather")) {
            equal("schema " + schema, schemas.contains(schema), true);
        }
        equal("tables of tos like ref%",
            rows(data.getTables(null, "tos", "ref%", new String[] {"TABLE", "VIEW"}), "TABLE_NAME", "TABLE_TYPE"),
            List.of("ref_cargo TABLE", "ref_ports TABLE"));
        equal("columns of tos.terminals",
            rows(data.getColumns(null, "tos", "terminals", "%"), "COLUMN_NAME", "TYPE_NAME", "COLUMN_SIZE", "IS_NULLABLE"),
            List.of("terminal_id int4 10 NO", "code varchar 8 NO", "name varchar 60 NO", "operator varchar 60 YES",
                "zone varchar 12 NO", "smdg_code varchar 6 YES", "unlocode bpchar 5 NO"));
        equal("comment of tos.port_calls.ata",
            rows(data.getColumns(null, "tos", "port_calls", "ata"), "REMARKS"),
            List.of("Arrival at the pilot boarding place, UTC"));
        equal("key of tos.berths",
            rows(data.getPrimaryKeys(null, "tos", "berths"), "COLUMN_NAME", "KEY_SEQ"),
            List.of("berth_id 1", "valid_from 2"));
        equal("references of tos.berth_visits",
            rows(data.getImportedKeys(null, "tos", "berth_visits"), "PKTABLE_SCHEM", "PKTABLE_NAME", "PKCOLUMN_NAME",
                "FKCOLUMN_NAME"),
            List.of("tos port_calls port_call_id port_call_id"));
        // Every column of every table has a type the driver knows.
        try (ResultSet all = data.getColumns(null, null, "%", "%")) {
            int seen = 0;
            while (all.next()) {
                String schema = all.getString("TABLE_SCHEM");
                if (!schema.startsWith("pg_") && !schema.equals("information_schema")) {
                    seen++;
                    if (all.getInt("DATA_TYPE") == Types.OTHER && !all.getString("TYPE_NAME").equals("jsonb")) {
                        equal(schema + "." + all.getString("TABLE_NAME") + "." + all.getString("COLUMN_NAME"),
                            all.getString("TYPE_NAME"), "a type of JDBC");
                    }
                }
            }
            equal("columns beyond the catalog are many", seen > 100, true);
        }
    }

    private static void statements(Connection connection) throws SQLException {
        String sql = "SELECT code, ?::int + 1 AS next, ?::numeric AS amount FROM tos.terminals WHERE code = ?";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            // The driver names the statement and asks for binary values after five uses.
            for (int use = 0; use < 8; use++) {
                statement.setInt(1, use);
                statement.setBigDecimal(2, new BigDecimal("12.50"));
                statement.setString(3, "TAC");
                try (ResultSet answer = statement.executeQuery()) {
                    equal("a row", answer.next(), true);
                    equal("a text", answer.getString("code"), "TAC");
                    equal("an int", answer.getInt("next"), use + 1);
                    equal("a numeric", answer.getBigDecimal("amount").stripTrailingZeros(), new BigDecimal("12.5"));
                    equal("one row", answer.next(), false);
                    equal("a type", answer.getMetaData().getColumnTypeName(2), "int4");
                }
            }
        }
    }

    private static void parts(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (PreparedStatement statement = connection.prepareStatement("SELECT n FROM generate_series(1, 1000) AS g(n) ORDER BY n")) {
            statement.setFetchSize(100);
            long sum = 0;
            try (ResultSet answer = statement.executeQuery()) {
                while (answer.next()) {
                    sum += answer.getLong(1);
                }
            }
            equal("a sum over parts", sum, 500500L);
        }
        connection.commit();
        connection.setAutoCommit(true);
    }

    private static void refusals(Connection connection) {
        String[][] cases = {
            {"SELECT 1 +", "42601"}, {"SELECT * FROM nowhere", "42P01"}, {"SELECT 1/0", "22012"},
            {"DELETE FROM tos.vessels", "25006"},
        };
        for (String[] one : cases) {
            try (PreparedStatement statement = connection.prepareStatement(one[0])) {
                statement.execute();
                equal(one[0], "accepted", one[1]);
            } catch (SQLException error) {
                equal(one[0], error.getSQLState(), one[1]);
            }
        }
    }
}
